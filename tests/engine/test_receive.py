"""Accepted means committed; refused means told why, with the bytes kept; sent again means answered again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from adapters.mllp import Limits, Listener, NoAnswer, Sender
from fhir_server.engine.channel import Channel
from fhir_server.engine.receive import Receiver
from fhir_server.store import inbox
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from tests.engine.world import PEER, adt, code, kept, raw, receiver, segments, shut, tenant_of


async def test_a_message_is_acknowledged_and_kept_byte_by_byte(database: Database) -> None:
    tenant = await tenant_of(database)
    answer = segments(await receiver(database, tenant).message(adt("A1"), PEER))
    assert answer["MSA"] == ["MSA", "AA", "A1"]
    assert answer["MSH"][2:6] == ["CONCORD", "CLINIC", "HIS", "NORTH"]
    (one,) = await kept(database, tenant)
    assert (one.state, one.control_id, one.message_type, one.trigger) == ("received", "A1", "ADT", "A01")
    assert (one.sender_app, one.sender_facility, one.peer) == ("HIS", "NORTH", "127.0.0.1:4711")
    assert await raw(database, tenant, one.id) == adt("A1")


async def test_a_message_is_ordered_by_its_patient(database: Database) -> None:
    tenant = await tenant_of(database)
    door = receiver(database, tenant)
    for control_id, patient in (("A1", "100"), ("A2", "200"), ("A3", "100")):
        await door.message(adt(control_id, patient), PEER)
    keys = [m.order_text for m in await kept(database, tenant)]
    assert keys[0] == keys[2] != keys[1]


async def test_the_same_message_again_gets_the_stored_answer_and_is_not_kept_twice(database: Database) -> None:
    tenant = await tenant_of(database)
    door = receiver(database, tenant)
    first = await door.message(adt("A1"), PEER)
    assert await door.message(adt("A1"), PEER) == first
    assert await receiver(database, tenant).message(adt("A1"), PEER) == first
    assert len(await kept(database, tenant)) == 1


async def test_the_same_control_id_with_other_content_is_kept_and_marked(database: Database) -> None:
    tenant = await tenant_of(database)
    door = receiver(database, tenant)
    await door.message(adt("A1", family="Meier"), PEER)
    assert code(await door.message(adt("A1", family="Maier"), PEER)) == "AA"
    assert [m.reused_id for m in await kept(database, tenant)] == [False, True]


async def test_the_same_control_id_of_another_sender_is_another_message(database: Database) -> None:
    tenant = await tenant_of(database)
    door = receiver(database, tenant)
    await door.message(adt("A1", app="HIS"), PEER)
    await door.message(adt("A1", app="LAB"), PEER)
    assert [m.reused_id for m in await kept(database, tenant)] == [False, False]


@pytest.mark.parametrize("data", [b"", b"hello", b"\x00\xff\xfe", b"PID|1\r", b"MSH", b"MSH|^~\\&|A|B|C|D|1||\r"])
async def test_what_has_no_usable_msh_gets_ar_with_an_empty_msa_2_and_is_kept(database: Database, data: bytes) -> None:
    tenant = await tenant_of(database)
    answer = segments(await receiver(database, tenant).message(data, PEER))
    assert answer["MSA"][1:3] == ["AR", ""]
    assert "ERR" in answer
    (one,) = await kept(database, tenant)
    assert one.state == "rejected"
    assert one.reason
    assert await raw(database, tenant, one.id) == data


async def test_a_refusal_that_quotes_a_nul_is_kept_too(database: Database) -> None:
    tenant = await tenant_of(database)
    data = b"MSH|^~\\&|A|B|C|D|1|||X\x001|P|2.5\x00\r"
    assert code(await receiver(database, tenant).message(data, PEER)) == "AR"
    assert [m.state for m in await kept(database, tenant)] == ["rejected"]


async def test_a_type_that_the_channel_does_not_take_gets_ar_200_and_is_kept(database: Database) -> None:
    tenant = await tenant_of(database)
    door = receiver(database, Channel("lab", tenant, types=frozenset({"ORU"})))
    answer = segments(await door.message(adt("A1"), PEER))
    assert answer["MSA"][1:3] == ["AR", "A1"]
    assert answer["ERR"][2] == "MSH^1^9^1^1"
    assert answer["ERR"][3].split("^")[0] == "200"
    (one,) = await kept(database, tenant)
    assert (one.state, one.channel) == ("rejected", "lab")
    assert await raw(database, tenant, one.id) == adt("A1")


async def test_a_message_once_refused_is_judged_anew_when_sent_again(database: Database) -> None:
    tenant = await tenant_of(database)
    await receiver(database, Channel("lab", tenant, types=frozenset({"ORU"}))).message(adt("A1"), PEER)
    assert code(await receiver(database, tenant).message(adt("A1"), PEER)) == "AA"
    assert [m.state for m in await kept(database, tenant)] == ["rejected", "received"]


async def test_many_at_once_share_few_commits_and_each_gets_its_own_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[int] = []
    accept = inbox.accept

    async def counted(db: Database, tenant_id: int, items: Sequence[inbox.Accepted]) -> list[inbox.Kept]:
        groups.append(len(items))
        return await accept(db, tenant_id, items)

    monkeypatch.setattr(inbox, "accept", counted)
    tenant = await tenant_of(database)
    door = receiver(database, tenant)
    answers = await asyncio.gather(*(door.message(adt(f"A{n}", str(n)), PEER) for n in range(100)))
    assert [segments(a)["MSA"][2] for a in answers] == [f"A{n}" for n in range(100)]
    assert len(await kept(database, tenant)) == 100
    assert len(groups) < 10


async def test_duplicates_that_come_at_the_same_moment_have_one_effect(database: Database) -> None:
    tenant = await tenant_of(database)
    door = receiver(database, tenant)
    answers = await asyncio.gather(*(door.message(adt("A1"), PEER) for _ in range(20)))
    assert len(set(answers)) == 1
    assert len(await kept(database, tenant)) == 1


@pytest.mark.parametrize("field", ["A\x001", "x" * 9000, "Ä\udcff"])
async def test_header_fields_that_no_index_can_hold_do_not_cost_the_message(database: Database, field: str) -> None:
    tenant = await tenant_of(database)
    data = adt(field.encode("utf-8", "surrogateescape").decode("latin-1")).decode().encode("latin-1")
    others = [adt(f"B{n}", str(n)) for n in range(5)]
    door = receiver(database, tenant)
    answers = await asyncio.gather(*(door.message(m, PEER) for m in (data, *others)))
    assert [a.split(b"\rMSA|")[1][:2] for a in answers if a] == [b"AA"] * 6
    assert await raw(database, tenant, (await kept(database, tenant))[0].id) in (data, *others)


@pytest.mark.parametrize("failure", [RuntimeError("x"), OSError("gone")])
async def test_a_database_that_fails_is_answered_with_ar_207_never_with_aa(
    database: Database, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    async def broken(*_: Any) -> list[inbox.Kept]:
        raise failure

    monkeypatch.setattr(inbox, "accept", broken)
    tenant = await tenant_of(database)
    answer = segments(await receiver(database, tenant).message(adt("A1"), PEER))
    assert answer["MSA"][1:3] == ["AR", "A1"]
    assert answer["ERR"][3].split("^")[0] == "207"


async def test_a_database_that_hangs_is_answered_with_ar_207(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def mute(*_: Any) -> list[inbox.Kept]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr(inbox, "accept", mute)
    tenant = await tenant_of(database)
    answer = segments(await receiver(database, tenant, patience=0.05).message(adt("A1"), PEER))
    assert (answer["MSA"][1], answer["ERR"][3].split("^")[0]) == ("AR", "207")


async def test_a_database_that_is_gone_is_answered_with_ar_207_and_later_with_aa(
    postgres: EmbeddedPostgres, fresh_name: str, fresh_database: Database
) -> None:
    tenant = await tenant_of(fresh_database)
    door = receiver(fresh_database, tenant)
    shut(postgres, fresh_name)
    answer = segments(await door.message(adt("A1"), PEER))
    assert (answer["MSA"][1], answer["ERR"][3].split("^")[0]) == ("AR", "207")
    shut(postgres, fresh_name, shut=False)
    assert code(await door.message(adt("A1"), PEER)) == "AA"
    assert [m.control_id for m in await kept(fresh_database, tenant)] == ["A1"]


async def test_workers_are_woken_after_the_commit(database: Database) -> None:
    tenant = await tenant_of(database)
    woken: list[int] = []
    door = receiver(database, tenant, wake=lambda: woken.append(1))
    await door.message(adt("A1"), PEER)
    assert woken == [1]


async def test_an_answer_lost_on_the_way_is_given_again_and_has_no_second_effect(database: Database) -> None:
    """The connection drops between the commit and the acknowledgement; the sender sends again."""
    tenant = await tenant_of(database)
    door = receiver(database, tenant)
    stored: list[bytes | None] = []

    async def lose_the_first(message: bytes, peer: Any) -> bytes | None:
        stored.append(await door.message(message, peer))
        if len(stored) == 1:
            raise ConnectionResetError
        return stored[-1]

    listener = await Listener.start(lose_the_first)
    sender = Sender("127.0.0.1", listener.port)
    with pytest.raises(NoAnswer):
        await sender.send(adt("A1"))
    assert await sender.send(adt("A1")) == stored[0]
    assert len(await kept(database, tenant)) == 1
    await sender.close()
    await listener.stop()


async def through_a_socket(door: Receiver, work: Callable[[int], Any], **limits: int) -> Any:
    listener = await Listener.start(door.message, limits=Limits(**limits), faults=door.fault)
    try:
        return await work(listener.port)
    finally:
        await listener.stop()


async def test_a_message_over_the_limit_gets_ar_over_the_wire_and_its_beginning_is_kept(database: Database) -> None:
    tenant = await tenant_of(database)
    door = receiver(database, tenant)

    async def send(port: int) -> bytes:
        sender = Sender("127.0.0.1", port)
        answer = await sender.send(adt("BIG") + b"NTE|1||" + b"x" * 5000 + b"\r")
        assert code(await sender.send(adt("SMALL"))) == "AA"
        await sender.close()
        return answer

    answer = segments(await through_a_socket(door, send, frame=4000))
    assert answer["MSA"][1:3] == ["AR", "BIG"]
    big, small = await kept(database, tenant)
    assert (big.state, big.control_id, small.state) == ("rejected", "BIG", "received")
    assert (await raw(database, tenant, big.id)).startswith(adt("BIG")[:500])


async def test_a_message_that_broke_off_is_kept_as_rejected(database: Database) -> None:
    tenant = await tenant_of(database)

    async def send(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x0b" + adt("HALF")[:70])
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(60):
            while not await kept(database, tenant):
                await asyncio.sleep(0.01)

    await through_a_socket(receiver(database, tenant), send)
    (one,) = await kept(database, tenant)
    assert one.state == "rejected"
    assert await raw(database, tenant, one.id) == adt("HALF")[:70]


async def test_another_tenant_sees_nothing_of_the_inbox(database: Database) -> None:
    mine, theirs = await tenant_of(database), await tenant_of(database)
    await receiver(database, mine).message(adt("A1"), PEER)
    (one,) = await kept(database, mine)
    assert await kept(database, theirs) == []
    rows = await database.fetch(theirs.id, "select 1 from inbox where id = %s", (one.id,))
    unset = await database.fetch(None, "select 1 from inbox where id = %s", (one.id,))
    assert rows == unset == []
