"""A message is durable before it is acknowledged, kept once, and processed in order."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import psycopg
import pytest
from structlog.testing import capture_logs

from fhir_server.store import inbox
from fhir_server.store.database import Database, Tx
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.inbox import Claimed, Closed
from tests.postgres import new_tenants
from tests.store.letters import LATER, REASON, drain, letter, process
from tests.store.rows import NOW


@pytest.fixture
async def tenant(fresh_database: Database) -> int:
    (made,) = await new_tenants(fresh_database, 1)
    return made


async def test_a_message_is_kept_as_it_came(fresh_database: Database, tenant: int) -> None:
    given = letter("1", text='\xe9 \\ "', peer="10.0.0.1:4711", message_type="ADT", trigger="A01", order_text="77^^^H")
    (kept,) = await inbox.accept(fresh_database, tenant, [given])
    assert (kept.ack, kept.duplicate, kept.reused_id, kept.state) == (b"AA 1", False, False, "received")
    stored = await inbox.show(fresh_database, tenant, kept.id)
    assert stored is not None
    assert (stored.raw, stored.ack) == (given.raw, b"AA 1")
    summary = stored.summary
    assert (summary.control_id, summary.trigger, summary.order_text, summary.peer, summary.received) == (
        "1",
        "A01",
        "77^^^H",
        "10.0.0.1:4711",
        NOW,
    )


async def test_the_same_message_again_gets_the_stored_acknowledgement(fresh_database: Database, tenant: int) -> None:
    (first,) = await inbox.accept(fresh_database, tenant, [letter("1")])
    again = letter("1", ack=b"another", received=LATER)
    fresh, repeat = await inbox.accept(fresh_database, tenant, [letter("2"), again])
    assert (repeat.id, repeat.ack, repeat.duplicate, repeat.received) == (first.id, b"AA 1", True, NOW)
    assert not fresh.duplicate
    assert await drain(fresh_database) == ["1", "2"]
    (repeat,) = await inbox.accept(fresh_database, tenant, [again])
    assert (repeat.duplicate, repeat.state) == (True, "done")
    assert await drain(fresh_database) == []


async def test_a_message_twice_in_one_group_is_kept_once(fresh_database: Database, tenant: int) -> None:
    kept = await inbox.accept(fresh_database, tenant, [letter("1"), letter("2"), letter("1")])
    assert [k.duplicate for k in kept] == [False, False, True]
    assert kept[0].id == kept[2].id
    assert await drain(fresh_database) == ["1", "2"]


async def test_a_control_id_with_other_content_is_a_new_message_and_flagged(
    fresh_database: Database, tenant: int
) -> None:
    await inbox.accept(fresh_database, tenant, [letter("1")])
    other, fresh = await inbox.accept(fresh_database, tenant, [letter("1", text="changed"), letter("2")])
    assert [(k.duplicate, k.reused_id) for k in (other, fresh)] == [(False, True), (False, False)]
    assert [s.reused_id for s in await inbox.listed(fresh_database, tenant)] == [False, True, False]
    assert await drain(fresh_database) == ["1", "1", "2"]


@pytest.mark.parametrize("other", [{"sender_app": "X"}, {"sender_facility": "X"}])
async def test_a_control_id_of_another_sender_is_another_message(
    fresh_database: Database, tenant: int, other: dict[str, str]
) -> None:
    await inbox.accept(fresh_database, tenant, [letter("1")])
    (kept,) = await inbox.accept(fresh_database, tenant, [letter("1", **other)])
    assert (kept.duplicate, kept.reused_id) == (False, False)


async def test_the_same_message_on_many_connections_at_once_is_kept_once(fresh_database: Database, tenant: int) -> None:
    groups = [[letter("1"), letter("2", 2)], [letter("2", 2), letter("1")]] * 10
    kept = await asyncio.gather(*(inbox.accept(fresh_database, tenant, group) for group in groups))
    assert sum(not k.duplicate for group in kept for k in group) == 2
    assert len({k.id for group in kept for k in group}) == 2
    assert {k.ack for group in kept for k in group} == {b"AA 1", b"AA 2"}
    assert sorted(await drain(fresh_database)) == ["1", "2"]


async def test_a_refused_message_is_kept_and_never_processed(fresh_database: Database, tenant: int) -> None:
    refused = letter("1", state="rejected", ack=b"AR", reason=REASON)
    kept = await inbox.accept(fresh_database, tenant, [refused, refused])
    assert [(k.state, k.ack, k.duplicate) for k in kept] == [("rejected", b"AR", False)] * 2
    (accepted,) = await inbox.accept(fresh_database, tenant, [letter("1")])
    assert not accepted.duplicate
    assert await drain(fresh_database) == ["1"]
    assert await inbox.counts(fresh_database, tenant) == {"rejected": 2, "done": 1}
    (summary, _) = await inbox.listed(fresh_database, tenant, states=["rejected"])
    assert summary.reason[0]["diagnostics"] == "it went wrong"


async def test_nothing_given_is_nothing_kept(fresh_database: Database, tenant: int) -> None:
    assert await inbox.accept(fresh_database, tenant, []) == []


async def test_messages_of_one_order_wait_for_each_other_and_others_pass(fresh_database: Database, tenant: int) -> None:
    await inbox.accept(fresh_database, tenant, [letter("a1", 1), letter("a2", 1), letter("b1", 2)])
    async with fresh_database.transaction(None) as first, fresh_database.transaction(None) as second:
        (a1,) = await inbox.claim(first, LATER)
        (b1,) = await inbox.claim(second, LATER)
        assert [a1.control_id, b1.control_id] == ["a1", "b1"]
        assert await process(fresh_database) is None
        inbox.close(first, [Closed(a1, "done")], LATER)
        inbox.close(second, [Closed(b1, "done")], LATER)
    assert await drain(fresh_database) == ["a2"]


async def test_a_ticket_whose_message_is_gone_is_cleared_and_the_next_is_claimed(
    fresh_database: Database, tenant: int, postgres: EmbeddedPostgres, fresh_name: str
) -> None:
    gone, _ = await inbox.accept(fresh_database, tenant, [letter("gone", 1), letter("kept", 1)])
    async with await psycopg.AsyncConnection.connect(postgres.admin_dsn(fresh_name), autocommit=True) as admin:
        await admin.execute("delete from inbox where id = %s", (gone.id,))
    with capture_logs() as logs:
        assert await process(fresh_database) == "kept"
        assert await process(fresh_database) is None
    assert [(line["event"], line["message_id"]) for line in logs] == [
        ("a ticket without its work was cleared", gone.id)
    ]
    assert await fresh_database.fetch(None, "select count(*) from job_ticket") == [(0,)]


async def test_several_are_claimed_together_each_the_first_of_its_order_and_of_one_tenant(
    fresh_database: Database, tenant: int
) -> None:
    (other,) = await new_tenants(fresh_database, 1)
    await inbox.accept(fresh_database, tenant, [letter("a1", 1), letter("a2", 1), letter("b1", 2), letter("c1", 3)])
    await inbox.accept(fresh_database, other, [letter("d1", 4)])
    async with fresh_database.transaction(None) as first, fresh_database.transaction(None) as second:
        ours = await inbox.claim(first, LATER, 16)
        theirs = await inbox.claim(second, LATER, 16)
        assert [m.control_id for m in ours] == ["a1", "b1", "c1"]
        assert [m.control_id for m in theirs] == ["d1"]
        inbox.close(first, [Closed(m, "done") for m in ours], LATER)
    assert await drain(fresh_database) == ["a2", "d1"]


async def test_messages_claimed_together_are_not_larger_than_asked(fresh_database: Database, tenant: int) -> None:
    await inbox.accept(fresh_database, tenant, [letter(name, n) for n, name in enumerate("abc")])
    size = len(letter("a").raw)
    for most, names in ((0, ["a"]), (2 * size, ["a", "b"]), (2 * size + 1, ["a", "b"]), (3 * size, ["a", "b", "c"])):
        async with fresh_database.transaction(None) as tx:
            assert [m.control_id for m in await inbox.claim(tx, LATER, 16, most)] == names
    assert await drain(fresh_database) == ["a", "b", "c"]


async def test_the_same_key_in_another_tenant_is_another_order(fresh_database: Database) -> None:
    for tenant in await new_tenants(fresh_database, 2):
        await inbox.accept(fresh_database, tenant, [letter("1")])
    async with fresh_database.transaction(None) as first, fresh_database.transaction(None) as second:
        claimed = [*await inbox.claim(first, LATER), *await inbox.claim(second, LATER)]
        assert len({m.tenant_id for m in claimed}) == 2


async def test_a_claim_sees_and_writes_its_tenant_alone(fresh_database: Database, tenant: int) -> None:
    (other,) = await new_tenants(fresh_database, 1)
    await inbox.accept(fresh_database, tenant, [letter("1")])
    await inbox.accept(fresh_database, other, [letter("2")])
    seen = []

    async def look(tx: Tx, message: Claimed) -> None:
        seen.append((message.tenant_id, await tx.fetch("select tenant_id, control_id from inbox")))

    await process(fresh_database, work=look)
    await process(fresh_database, work=look)
    assert seen == [(tenant, [(tenant, "1")]), (other, [(other, "2")])]


async def test_a_worker_that_dies_gives_its_message_back(fresh_database: Database, tenant: int) -> None:
    await inbox.accept(fresh_database, tenant, [letter("1"), letter("2")])

    async def killed(tx: Tx, message: Claimed) -> None:
        await tx.fetch("update inbox set channel = 'half done' returning 1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await process(fresh_database, work=killed)
    assert {s.channel for s in await inbox.listed(fresh_database, tenant)} == {"mllp"}
    assert await drain(fresh_database) == ["1", "2"]


async def test_a_finished_message_tells_what_it_became(fresh_database: Database, tenant: int) -> None:
    (kept,) = await inbox.accept(fresh_database, tenant, [letter("1", ack=None)])
    async with fresh_database.transaction(None) as tx:
        (message,) = await inbox.claim(tx, LATER)
        inbox.close(tx, [Closed(message, "done", ["Patient/1"], REASON, b"AA applied")], LATER)
    stored = await inbox.show(fresh_database, tenant, kept.id)
    assert stored
    summary = stored.summary
    assert (summary.state, summary.result, summary.attempts, summary.processed) == ("done", ["Patient/1"], 1, LATER)
    (repeat,) = await inbox.accept(fresh_database, tenant, [letter("1", ack=None)])
    assert repeat.ack == b"AA applied"


async def test_a_retry_takes_back_the_work_and_holds_its_order(fresh_database: Database, tenant: int) -> None:
    (kept, *_) = await inbox.accept(fresh_database, tenant, [letter("1"), letter("2"), letter("x", 2)])
    due = LATER + timedelta(minutes=5)
    async with fresh_database.transaction(None) as tx:
        (message,) = await inbox.claim(tx, LATER)
        await tx.fetch("update inbox set channel = 'half done' returning 1")
        tx.defer("select 1 / 0")
        inbox.retry(tx, message, due, REASON)
    stored = await inbox.show(fresh_database, tenant, kept.id)
    assert stored
    assert (stored.summary.state, stored.summary.attempts, stored.summary.due) == ("received", 1, due)
    assert (stored.summary.channel, stored.summary.reason[0]["code"]) == ("mllp", "processing")
    assert await drain(fresh_database, LATER) == ["x"]
    assert await drain(fresh_database, due) == ["1", "2"]


async def test_a_retry_is_possible_after_a_statement_failed(fresh_database: Database, tenant: int) -> None:
    await inbox.accept(fresh_database, tenant, [letter("1")])
    async with fresh_database.transaction(None) as tx:
        (message,) = await inbox.claim(tx, LATER)
        with pytest.raises(Exception, match="division by zero"):
            await tx.fetch("select 1 / 0")
        inbox.retry(tx, message, LATER, REASON)
    async with fresh_database.transaction(None) as tx:
        (message,) = await inbox.claim(tx, LATER)
        assert message.attempts == 1


async def test_a_buried_message_lets_its_order_go_on(fresh_database: Database, tenant: int) -> None:
    await inbox.accept(fresh_database, tenant, [letter("1"), letter("2")])
    async with fresh_database.transaction(None) as tx:
        (message,) = await inbox.claim(tx, LATER)
        await tx.fetch("update inbox set channel = 'half done' returning 1")
        inbox.bury(tx, message, LATER, REASON)
    (summary,) = await inbox.listed(fresh_database, tenant, states=["buried"])
    assert (summary.control_id, summary.channel, summary.processed) == ("1", "mllp", LATER)
    assert summary.reason[0]["diagnostics"] == "it went wrong"
    assert await drain(fresh_database) == ["2"]


async def test_a_replay_goes_behind_what_waits_and_queues_only_what_is_settled(
    fresh_database: Database, tenant: int
) -> None:
    first, second, refused = await inbox.accept(
        fresh_database, tenant, [letter("1"), letter("2"), letter("3", state="rejected")]
    )
    assert await process(fresh_database) == "1"
    ids = [first.id, second.id, refused.id, 999]
    assert await inbox.replay(fresh_database, tenant, ids) == [first.id]
    assert await inbox.replay(fresh_database, tenant, ids) == []
    (other,) = await new_tenants(fresh_database, 1)
    assert await drain(fresh_database) == ["2", "1"]
    assert await inbox.replay(fresh_database, other, ids) == []


async def test_messages_are_listed_newest_first_in_pages(fresh_database: Database, tenant: int) -> None:
    await inbox.accept(fresh_database, tenant, [letter(str(n), n) for n in range(5)])
    page = await inbox.listed(fresh_database, tenant, limit=2)
    rest = await inbox.listed(fresh_database, tenant, before=page[-1].id)
    assert [s.control_id for s in page + rest] == ["4", "3", "2", "1", "0"]
    assert [s.control_id for s in await inbox.listed(fresh_database, tenant, control_id="3")] == ["3"]
    assert await inbox.listed(fresh_database, tenant, states=["buried"]) == []


async def test_another_tenant_sees_no_message(fresh_database: Database, tenant: int) -> None:
    (kept,) = await inbox.accept(fresh_database, tenant, [letter("1")])
    (other,) = await new_tenants(fresh_database, 1)
    assert await inbox.show(fresh_database, other, kept.id) is None
    assert await inbox.listed(fresh_database, other) == []
    assert await inbox.counts(fresh_database, other) == {}
    (same,) = await inbox.accept(fresh_database, other, [letter("1")])
    assert not same.duplicate
