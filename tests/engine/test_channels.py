"""Channels as data: who may send what into which clinic, changed while messages come, paused without losing order."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from adapters.contract import Peer
from fhir_server.app import Concord, receiver, worker
from fhir_server.context import Tenant
from fhir_server.engine.receive import Receiver
from fhir_server.errors import Invalid, NotFound
from fhir_server.operations import channels
from fhir_server.operations.channels import Editor
from fhir_server.store import channels as stored
from fhir_server.store import messages, tenants
from fhir_server.store.channels import PARKED
from tests.engine.world import PEER, adt, code, kept, segments
from tests.fhir import running


class House:
    """An installation with two clinics and no catch-all door."""

    def __init__(self, concord: Concord, north: Tenant, south: Tenant, door: Receiver) -> None:
        self.concord, self.north, self.south, self.door = concord, north, south, door

    def editor(self, tenant: Tenant) -> Editor:
        """Return who changes a clinic's channels."""
        return Editor(tenant.id, "engineer", "tests", self.concord.clock())

    async def apply(self, tenant: Tenant, name: str = "adt", **definition: Any) -> int:
        """Save a channel and return its version."""
        data = msgspec.json.encode({"name": name, **definition})
        ((_, version),) = await channels.apply(self.concord.db, self.editor(tenant), [data])
        return version

    async def until(self, sent: bytes, holds: Callable[[bytes | None], bool], peer: Peer = PEER) -> bytes | None:
        """Send again and again, with new control ids, until the answer is as it should be."""
        async with asyncio.timeout(20):
            while not holds(answer := await self.door.message(_anew(sent), peer)):
                await asyncio.sleep(0.01)
        return answer

    async def drain(self) -> int:
        """Work all that is due."""
        return await worker(self.concord).drain()


def _anew(data: bytes) -> bytes:
    return data.replace(b"|ID|", f"|{uuid.uuid4().hex[:20]}|".encode())


def _is(wanted: str) -> Callable[[bytes | None], bool]:
    return lambda answer: code(answer) == wanted


@pytest.fixture
async def house(fresh_name: str, postgres: Any) -> AsyncIterator[House]:
    """Give an installation of this test alone."""
    async with _opened(postgres.server_dsn(fresh_name)) as found:
        yield found


@asynccontextmanager
async def _opened(dsn: str) -> AsyncIterator[House]:
    async with running(dsn, poll_interval=0.2) as (concord, _), receiver(concord) as door:
        north, south = await tenants.add(concord.db, "north"), await tenants.add(concord.db, "south")
        yield House(concord, north, south, door)


async def test_a_sender_that_no_channel_knows_is_refused_and_kept_apart_from_every_clinic(house: House) -> None:
    answer = await house.door.message(adt("1"), PEER)
    assert (code(answer), segments(answer)["ERR"][3].split("^")[0]) == ("AR", "204")
    apart = await tenants.by_name(house.concord.db, tenants.QUARANTINE)
    assert apart
    (message,) = await kept(house.concord.db, apart)
    assert (message.state, message.control_id, message.channel) == ("rejected", "1", "unknown-sender")
    assert await kept(house.concord.db, house.north) == await kept(house.concord.db, house.south) == []


async def test_two_clinics_share_one_door_and_are_told_apart_by_the_sender(house: House) -> None:
    await house.apply(house.north, accepts={"senders": [["HIS", "NORTH"]]})
    await house.apply(house.south, accepts={"senders": [["LAB", "NORTH"]]})
    await house.until(adt("ID"), _is("AA"))
    await house.until(adt("ID", app="LAB"), _is("AA"))
    assert [m.sender_app for m in await kept(house.concord.db, house.north)] == ["HIS"]
    assert [m.sender_app for m in await kept(house.concord.db, house.south)] == ["LAB"]


async def test_a_sender_at_an_address_that_is_not_listed_is_unknown(house: House) -> None:
    await house.apply(house.north, source={"kind": "mllp", "peers": ["10.1.0.0/16"]})
    await house.until(adt("ID"), _is("AA"), Peer("10.1.2.3", 99))
    assert code(await house.door.message(adt("2"), Peer("10.2.2.3", 99))) == "AR"
    assert code(await house.door.message(adt("3"), Peer("local", 0))) == "AR"


async def test_a_message_that_two_channels_claim_is_filed_under_neither(house: House) -> None:
    await house.apply(house.north)
    await house.until(adt("ID"), _is("AA"))
    await house.apply(house.south)
    await house.until(adt("ID"), _is("AR"))
    assert await kept(house.concord.db, house.south) == []


async def test_the_channel_that_says_more_about_the_sender_takes_the_message(house: House) -> None:
    await house.apply(house.north)
    await house.apply(house.south, accepts={"senders": [["HIS", "NORTH"]]})
    await house.until(adt("ID"), lambda _: True)
    async with asyncio.timeout(20):
        while not await kept(house.concord.db, house.south):
            await house.door.message(_anew(adt("ID")), PEER)
            await asyncio.sleep(0.01)
    north = len(await kept(house.concord.db, house.north))
    assert code(await house.door.message(adt("last"), PEER)) == "AA"
    assert (await kept(house.concord.db, house.south))[-1].control_id == "last"
    assert len(await kept(house.concord.db, house.north)) == north


async def test_what_a_channel_does_not_take_is_refused_in_its_own_clinic(house: House) -> None:
    await house.apply(house.north, accepts={"types": ["ORU^R01"]})
    answer = await house.until(adt("ID"), lambda a: segments(a)["ERR"][3].startswith("200"))
    assert code(answer) == "AR"
    assert {m.state for m in await kept(house.concord.db, house.north)} == {"rejected"}


async def test_a_paused_channel_takes_messages_and_works_them_in_order_once_it_goes_on(house: House) -> None:
    db = house.concord.db
    await house.apply(house.north)
    await house.until(adt("ID"), _is("AA"))
    await house.drain()
    await channels.set_state(db, house.editor(house.north), "adt", "paused")
    for number in ("p1", "p2", "p3"):
        assert code(await house.door.message(adt(number, family=number), PEER)) == "AA"
    await house.drain()
    waiting = await db.fetch(None, "select due from job_ticket where due is not null")
    assert waiting == [(PARKED,)]
    assert [m.state for m in await kept(db, house.north)][-3:] == ["received"] * 3
    await channels.set_state(db, house.editor(house.north), "adt", "running")
    await house.drain()
    done = (await kept(db, house.north))[-3:]
    assert [(m.control_id, m.state) for m in done] == [("p1", "done"), ("p2", "done"), ("p3", "done")]
    patient = next(ref for ref in done[-1].result["written"] if ref.startswith("Patient/"))
    assert patient.endswith("/_history/4")


async def test_a_draining_channel_works_what_is_there_and_has_senders_come_back_later(house: House) -> None:
    await house.apply(house.north)
    await house.until(adt("ID"), _is("AA"))
    await channels.set_state(house.concord.db, house.editor(house.north), "adt", "draining")
    answer = await house.until(adt("ID"), _is("AR"))
    assert segments(answer)["ERR"][3].split("^")[0] == "207"
    await house.drain()
    states = {m.state for m in await messages.listed(house.concord.db, house.north.id)}
    assert "received" not in states


async def test_each_change_is_a_version_and_an_older_one_can_work_again(house: House) -> None:
    db, who = house.concord.db, house.editor(house.north)
    assert await house.apply(house.north) == 1
    assert await house.apply(house.north) == 1, "the same definition is no new version"
    assert await house.apply(house.north, profile={"zone": "America/New_York"}) == 2
    assert await channels.promote(db, who, "adt") == 1
    assert [(c.version, c.definition) for c in await stored.all_of(db, house.north.id)] == [(1, {"name": "adt"})]
    assert [(v.version, v.author) for v in await stored.versions(db, house.north.id, "adt")] == [
        (2, "engineer"),
        (1, "engineer"),
    ]
    told = "select action, detail->>'channel' from audit where tenant_id = %s and action like 'channel-%%' order by id"
    rows = await db.fetch(house.north.id, told, (house.north.id,))
    assert rows == [("channel-save", "adt"), ("channel-save", "adt"), ("channel-promote", "adt")]


async def test_a_draft_does_not_work_until_it_is_promoted(house: House) -> None:
    db, who = house.concord.db, house.editor(house.north)
    await house.apply(house.north)
    draft = msgspec.json.encode({"name": "adt", "accepts": {"types": ["ORU"]}})
    assert await channels.apply(db, who, [draft], work=False) == [("adt", 2)]
    assert [c.version for c in await stored.all_of(db, house.north.id)] == [1]
    assert await channels.promote(db, who, "adt", 2) == 2
    assert [c.version for c in await stored.all_of(db, house.north.id)] == [2]


async def test_of_several_definitions_all_are_saved_or_none(house: House) -> None:
    data = [b'{"name": "good"}', b'{"name": "bad", "accepts": {"types": ["nonsense"]}}']
    with pytest.raises(Invalid, match="nonsense"):
        await channels.apply(house.concord.db, house.editor(house.north), data)
    assert await stored.all_of(house.concord.db, house.north.id) == []


async def test_a_clinic_cannot_touch_the_channels_of_another(house: House) -> None:
    await house.apply(house.north)
    with pytest.raises(NotFound):
        await channels.promote(house.concord.db, house.editor(house.south), "adt", 1)
    with pytest.raises(NotFound):
        await channels.set_state(house.concord.db, house.editor(house.south), "adt", "paused")


@pytest.mark.parametrize(
    ("definition", "named"),
    [
        ({"name": "No Spaces"}, "name"),
        ({"name": "x", "acepts": {}}, "acepts"),
        ({"name": "x", "source": {"kind": "carrier-pigeon"}}, "source"),
        ({"name": "x", "source": {"kind": "mllp", "peers": ["nowhere"]}}, "peers"),
        ({"name": "x", "accepts": {"versions": ["3"]}}, "versions"),
        ({"name": "x", "profile": {"zone": "Mars/Olympus"}}, "zone"),
        ({"name": "x", "retry": {"attempts": 0}}, "retry"),
        ({"name": "x", "retry": {"base": 5, "most": 1}}, "retry"),
        (["name"], "Channel"),
    ],
)
async def test_a_definition_that_cannot_be_used_is_refused_by_the_name_of_what_is_wrong(
    house: House, definition: Any, named: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await channels.apply(house.concord.db, house.editor(house.north), [msgspec.json.encode(definition)])
    assert any(named in issue.diagnostics or named in str(issue.expression) for issue in refused.value.issues)


def _wanting(data: bytes, accept: str, application: str) -> bytes:
    """Return the message with MSH-15 and MSH-16."""
    head, rest = data.split(b"\r", 1)
    return head + f"|||{accept}|{application}".encode() + b"\r" + rest


@pytest.mark.parametrize(
    ("accept", "application", "good", "bad"),
    [
        ("AL", "NE", "CA", "CR"),
        ("AL", "AL", "CA", "CR"),
        ("NE", "AL", "AA", "AR"),
        ("NE", "NE", None, None),
        ("ER", "NE", None, "CR"),
        ("SU", "NE", "CA", None),
        ("", "ER", None, "AR"),
    ],
)
async def test_the_sender_says_by_msh_15_and_16_which_acknowledgement_it_wants(
    house: House, accept: str, application: str, good: str | None, bad: str | None
) -> None:
    await house.apply(house.north)
    await house.until(adt("ID"), _is("AA"))
    answer = await house.door.message(_wanting(adt("good"), accept, application), PEER)
    assert (code(answer) if answer else None) == good
    await house.apply(house.north, accepts={"types": ["ORU"]})
    await house.until(adt("ID"), _is("AR"))
    answer = await house.door.message(_wanting(adt("bad"), accept, application), PEER)
    assert (code(answer) if answer else None) == bad


async def test_a_channel_can_answer_once_the_message_is_processed(house: House) -> None:
    await house.apply(house.north, ack={"when": "applied"})
    working = worker(house.concord)
    task = asyncio.create_task(working.run())
    try:
        assert code(await house.until(adt("ID"), _is("AA"))) == "AA"
        assert {m.state for m in await kept(house.concord.db, house.north)} == {"done"}
        answer = await house.door.message(adt("bad").replace(b"PID|", b"ZID|"), PEER)
        assert code(answer) == "AE"
        assert segments(answer)["ERR"][8]
        assert await house.door.message(adt("bad").replace(b"PID|", b"ZID|"), PEER) == answer, "the same again"
    finally:
        working.stop()
        await task


async def test_who_is_not_answered_in_time_asks_again_and_learns_what_became_of_it(house: House) -> None:
    await house.apply(house.north, ack={"when": "applied", "seconds": 0.05})
    await house.until(adt("ID"), lambda a: code(a) == "AR" and segments(a)["ERR"][3].startswith("207"))
    first = adt("late")
    assert code(await house.door.message(first, PEER)) == "AR"
    await house.drain()
    assert code(await house.door.message(first, PEER)) == "AA"
    assert len([m for m in await kept(house.concord.db, house.north) if m.control_id == "late"]) == 1


@pytest.mark.parametrize(("accept", "application"), [("AL", "NE"), ("NE", "NE"), ("ER", "")])
async def test_a_channel_in_original_mode_answers_every_message(house: House, accept: str, application: str) -> None:
    await house.apply(house.north, ack={"mode": "original"})
    await house.until(adt("ID"), _is("AA"))
    assert code(await house.door.message(_wanting(adt("good"), accept, application), PEER)) == "AA"
