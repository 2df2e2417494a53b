"""What a channel takes it sends on: once it is done, in order, and what the receiver answers decides what follows."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fhir_server.engine.replay import replay
from fhir_server.store import destinations
from fhir_server.store.embedded import EmbeddedPostgres
from tests.engine.receivers import receiving, saying
from tests.engine.sending import House, house_on, mllp
from tests.engine.world import adt, kept


@pytest.fixture
async def house(fresh_name: str, postgres: EmbeddedPostgres) -> AsyncIterator[House]:
    async with house_on(postgres.server_dsn(fresh_name)) as found:
        yield found


async def test_a_message_that_is_done_is_sent_on_as_it_came_over_one_connection(house: House) -> None:
    async with receiving() as ehr:
        await house.apply(mllp(ehr.port))
        await house.take(adt("1"), adt("2", family="Meyer"))
        assert ehr.came == []
        await house.send()
        assert ehr.came == [adt("1"), adt("2", family="Meyer")]
        await house.take(adt("3"))
        await house.send()
    assert await house.states() == [("1", "done", 1), ("2", "done", 1), ("3", "done", 1)]
    assert len(ehr.peers) == 1


@pytest.mark.parametrize(
    ("code", "errors", "state", "reason"),
    [
        ("CA", [], "done", None),
        ("AE", ["101"], "held", "the receiver answered AE with 101 at PID-3"),
        ("AR", ["200"], "failed", "the receiver answered AR with 200 at PID-3"),
        ("AR", ["203"], "failed", "the receiver answered AR with 203 at PID-3"),
        ("AR", ["207"], "queued", "the receiver answered AR with 207 at PID-3"),
        ("AR", [], "queued", "the receiver answered AR"),
        ("CE", [], "queued", "the receiver answered CE"),
        ("CR", [], "failed", "the receiver answered CR"),
    ],
)
async def test_the_answer_decides_what_becomes_of_a_delivery(
    house: House, code: str, errors: list[str], state: str, reason: str | None
) -> None:
    async with receiving() as ehr:
        ehr.answer = saying(code, *errors)
        await house.apply(mllp(ehr.port))
        await house.take(adt("1"))
        await house.send()
        assert await house.states() == [("1", state, 1)]
        assert await house.reasons() == [reason]
        ehr.answer = saying("AA")
        await house.later(2)
    assert await house.states() == [("1", "done", 2) if state == "queued" else ("1", state, 1)]


async def test_nothing_is_sent_of_a_message_that_is_not_done(house: House) -> None:
    async with receiving() as ehr:
        await house.apply(mllp(ehr.port))
        await house.take(b"MSH|^~\\&|HIS|NORTH|||20260301||ZZZ^Z01|1|P|2.5\r")
        await house.send()
        assert ehr.came == []
    assert await house.states() == []


async def test_a_destination_takes_the_types_that_it_names(house: House) -> None:
    async with receiving() as ehr, receiving() as other:
        await house.apply(mllp(ehr.port, types=["ADT^A08"]), mllp(other.port, "other", types=["ADT"]))
        await house.take(adt("1"), adt("2", event="A08"))
        await house.send()
        assert (ehr.ids, other.ids) == (["2"], ["1", "2"])


async def test_fields_of_the_msh_are_written_anew_where_the_definition_says_so(house: House) -> None:
    async with receiving() as ehr:
        await house.apply(mllp(ehr.port, msh={"MSH-5": "EHR^1.2.3^ISO", "MSH-6": "SOUTH"}))
        await house.take(adt("1"))
        await house.send()
        assert ehr.came == [adt("1").replace(b"|CONCORD|CLINIC|", b"|EHR^1.2.3^ISO|SOUTH|")]


async def test_a_replay_sends_nothing_twice(house: House) -> None:
    async with receiving() as ehr:
        await house.apply(mllp(ehr.port))
        await house.take(adt("1"))
        await house.send()
        (message,) = await kept(house.db, house.tenant)
        await replay(house.db, house.tenant.id, [message.id])
        await house.take()
        await house.send()
        assert ehr.ids == ["1"]


async def test_a_dead_host_is_left_alone_and_tried_by_one_probe(house: House) -> None:
    async with receiving() as gone, receiving() as well:
        dead, port = mllp(gone.port, breaker={"failures": 3, "pause": 60}), well.port
    async with receiving(port) as well:
        await house.apply(dead, mllp(well.port, "well"))
        await house.take(*(adt(str(n), str(n)) for n in range(8)))
        await house.send()
        assert sorted(well.ids) == [str(n) for n in range(8)], "another destination goes on"
        tried = {c: a for c, s, a in (await house.states())[::2]}
        assert sum(tried.values()) == 3
        assert await house.later(30) == 0
        await house.later(31)
        assert sum(a for _, _, a in (await house.states())[::2]) == 4, "one probe"
        (seen,) = await destinations.all_of(house.db, house.tenant.id)
        assert (seen.name, seen.failures, seen.reason) == ("ehr", 4, "not connected: Connection refused")
        async with receiving(dead["port"]) as back:
            await house.later(121)
            assert sorted(back.ids) == [str(n) for n in range(8)]
        (seen,) = await destinations.all_of(house.db, house.tenant.id)
        assert (seen.failures, seen.closed_until) == (0, None)


async def test_order_is_kept_for_each_patient_and_others_go_on(house: House) -> None:
    async with receiving() as ehr:
        ehr.answer = lambda m: saying("CE")(m) if b"|100^^^" in m else saying("AA")(m)
        await house.apply(mllp(ehr.port))
        await house.take(adt("a1"), adt("a2"), adt("b1", "200"), adt("b2", "200"))
        await house.send()
        assert ehr.ids == ["a1", "b1", "b2"]
        ehr.answer = saying("AA")
        await house.later(2)
        assert ehr.ids[3:] == ["a1", "a2"]
