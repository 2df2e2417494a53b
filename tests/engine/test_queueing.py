"""What goes first and what one after the other: priorities that starve nobody, and messages of two patients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from fhir_server.context import Tenant
from fhir_server.engine.channel import Channel
from fhir_server.store import inbox, messages, tickets
from fhir_server.store.audit import Audited
from fhir_server.store.database import Database
from fhir_server.store.inbox import Closed
from fhir_server.store.tickets import AHEAD
from mappings.hl7v2 import order_keys, parse
from tests.engine.world import NOW, PEER, adt, code, kept, receiver, tenant_of


class World:
    """A queue, and a worker that takes what is first."""

    def __init__(self, db: Database, tenant: Tenant) -> None:
        self.db, self.tenant, self.now = db, tenant, NOW

    async def send(self, *contents: bytes, **channel: Any) -> list[str]:
        """Send messages by a channel of these members, and return the codes that they are answered with."""
        by = Channel("his", self.tenant, original=True, **channel)
        door = receiver(self.db, by, clock=lambda: self.now)
        return [code(await door.message(content, PEER)) for content in contents]

    async def take(self, most: int = 1, retry: timedelta | None = None) -> list[str | None]:
        """Process what is first, or have it tried again later; return the control ids."""
        async with self.db.transaction(None) as tx:
            claimed = await inbox.claim(tx, self.now, most)
            if retry is not None:
                inbox.retry(tx, claimed[0], self.now + retry, [])
            elif claimed:
                inbox.close(tx, [Closed(one, "done") for one in claimed], self.now)
            return [one.control_id for one in claimed]

    async def all(self) -> list[str | None]:
        """Process until nothing is due."""
        done: list[str | None] = []
        while found := await self.take():
            done += found
        return done


@pytest.fixture
async def world(fresh_database: Database) -> AsyncIterator[World]:
    return World(fresh_database, await tenant_of(fresh_database))


def merge(control_id: str, survivor: str, gone: str) -> bytes:
    """Return an A40."""
    return adt(control_id, survivor, event="A40").replace(b"PV1|", f"MRG|{gone}^^^NORTH^MR\rPV1|".encode())


async def test_the_urgent_go_first_and_bulk_last(world: World) -> None:
    for name, priority in (("B1", "bulk"), ("N1", "normal"), ("U1", "urgent"), ("B2", "bulk"), ("U2", "urgent")):
        await world.send(adt(name, name), ahead=AHEAD[priority])
        world.now += timedelta(seconds=1)
    assert await world.all() == ["U1", "U2", "N1", "B1", "B2"]


async def test_nobody_waits_for_ever_behind_the_urgent(world: World) -> None:
    await world.send(adt("N1", "1"), ahead=AHEAD["normal"])
    world.now += timedelta(minutes=59)
    await world.send(adt("U1", "2"), ahead=AHEAD["urgent"])
    world.now += timedelta(minutes=2)
    await world.send(adt("U2", "3"), ahead=AHEAD["urgent"])
    assert await world.all() == ["U1", "N1", "U2"]


async def test_priority_never_breaks_the_order_of_a_patient(world: World) -> None:
    await world.send(adt("B1", "1"), ahead=0)
    await world.send(adt("U1", "1"), ahead=AHEAD["urgent"])
    assert await world.take(16) == ["B1"]
    assert await world.take(16) == ["U1"]


async def test_a_message_that_is_tried_again_waits_its_time_and_then_goes_first(world: World) -> None:
    await world.send(adt("U1", "1"), ahead=AHEAD["urgent"])
    assert await world.take(retry=timedelta(seconds=10)) == ["U1"]
    await world.send(adt("N1", "2"), adt("N2", "3"))
    assert await world.take() == ["N1"]
    world.now += timedelta(seconds=11)
    assert await world.all() == ["U1", "N2"]


async def test_a_merge_waits_for_both_patients_and_holds_both_back(world: World) -> None:
    await world.send(adt("A1", "1"), adt("B1", "2"), merge("M", "1", "2"), adt("A2", "1"), adt("B2", "2"))
    first = await world.take(16)
    assert sorted(filter(None, first)) == ["A1", "B1"]
    assert await world.take(16) == ["M"]
    assert sorted(filter(None, await world.take(16))) == ["A2", "B2"]
    assert await world.db.fetch(None, "select count(*) from job_ticket") == [(0,)]


async def test_a_merge_whose_other_patient_is_busy_is_looked_at_again(world: World) -> None:
    await world.send(adt("B1", "2"), merge("M", "1", "2"), adt("A2", "1"))
    assert await world.take(retry=timedelta(seconds=5)) == ["B1"]
    assert await world.all() == []
    world.now += timedelta(seconds=6)
    assert await world.all() == ["B1"]
    world.now += timedelta(seconds=1)
    assert await world.all() == ["M", "A2"]


async def test_merges_of_the_same_two_never_wait_for_each_other(world: World) -> None:
    await world.send(merge("M1", "1", "2"), merge("M2", "2", "1"), merge("M3", "1", "2"))
    assert await world.all() == ["M1", "M2", "M3"]


async def test_a_merge_that_is_replayed_or_buried_leaves_no_guard(world: World) -> None:
    await world.send(merge("M", "1", "2"))
    assert await world.all() == ["M"]
    (message,) = await kept(world.db, world.tenant)
    assert await messages.replay(world.db, world.tenant.id, [message.id]) == [message.id]
    await world.send(adt("B1", "2"))
    async with world.db.transaction(None) as tx:
        (claimed,) = await inbox.claim(tx, world.now)
        assert claimed.control_id == "M"
        inbox.bury(tx, claimed, world.now, [])
    assert await world.all() == ["B1"]
    assert await world.db.fetch(None, "select count(*) from job_ticket") == [(0,)]


async def test_a_guard_that_an_older_worker_left_behind_is_taken_away(world: World) -> None:
    await world.send(merge("M", "1", "2"), adt("B1", "2"))
    sql = "delete from job_ticket where kind = 1 and also is not null"
    await world.db.fetch(None, sql)
    assert await world.all() == []
    assert await tickets.clear_guards(world.db, world.now) == 0
    assert await tickets.clear_guards(world.db, world.now + timedelta(hours=1)) == 1
    assert await world.all() == ["B1"]


async def test_a_channel_may_name_another_order(world: World) -> None:
    await world.send(adt("A1", "1"), adt("A2", "1", event="A08"), order="EVN-1")
    assert sorted(filter(None, await world.take(16))) == ["A1", "A2"]


def test_an_order_is_that_of_all_patients_of_a_number_or_of_a_path() -> None:
    def keys(by: str, *lines: str) -> Sequence[str]:
        return order_keys(parse("MSH|^~\\&|A|B|||1||ADT^A40|7|P|2.5\r" + "\r".join(lines)), by)

    both = ("PID|1||1^^^N", "MRG|2^^^N&1.2&ISO")
    assert keys("patient", *both) == ("patient|N|1", "patient|1.2|2")
    assert keys("patient", *both, "PID|1||1^^^N") == ("patient|N|1", "patient|1.2|2")
    assert keys("order", *both, "OBR|1|P|F") == ("order|A/B|F",)
    assert keys("order", *both) == ("patient|N|1", "patient|1.2|2")
    assert keys("PV1-19", *both, "PV1|" + "|" * 18 + "V1") == ("PV1-19|A/B|V1",)
    assert keys("PV1-19") == ("message|A/B|7",)


async def test_a_reused_control_id_is_taken_or_waits_for_a_person(world: World) -> None:
    assert await world.send(adt("A1"), adt("A1", family="Other")) == ["AA", "AA"]
    assert await world.send(adt("B1"), adt("B1", family="Other"), adt("B2"), holds=True) == ["AA", "AE", "AA"]
    assert await world.send(adt("B1", family="Other"), adt("B1"), holds=True) == ["AE", "AA"]
    held = (await kept(world.db, world.tenant))[3]
    assert (held.control_id, held.state, held.reused_id) == ("B1", "quarantined", True)
    assert held.reason[0]["expression"] == ["MSH-10"]
    assert await world.all() == ["A1", "A1", "B1", "B2"]


async def test_control_ids_are_one_message_within_their_window_alone(world: World) -> None:
    await world.send(adt("A1"), holds=True)
    world.now += timedelta(days=31)
    assert await world.send(adt("A1", family="Other"), holds=True) == ["AA"]
    world.now += timedelta(days=29)
    assert await world.send(adt("A1", family="Third"), holds=True) == ["AE"]


async def test_what_was_quarantined_is_processed_once_a_person_releases_it(world: World) -> None:
    await world.send(adt("A1"), adt("A1", family="Other"), holds=True)
    first, held = await kept(world.db, world.tenant)
    who = Audited(at=NOW, action="message-release", subject="p", client="c", outcome=202)
    assert await messages.replay(world.db, world.tenant.id, [held.id]) == []
    assert await messages.release(world.db, world.tenant.id, [first.id, held.id], who) == [held.id]
    assert await messages.release(world.db, world.tenant.id, [held.id], who) == []
    assert await world.all() == ["A1", "A1"]
    told = await world.db.fetch(world.tenant.id, "select detail from audit where action = 'message-release'")
    assert told == [({"messages": [held.id]},)]


async def test_a_group_that_reuses_a_control_id_in_itself_is_found_out(world: World) -> None:
    hold = inbox.Hold(b"AE", [])
    given = [_letter(text, hold) for text in ("x", "y", "x")]
    found = await inbox.accept(world.db, world.tenant.id, given)
    assert [(one.state, one.ack, one.duplicate) for one in found] == [
        ("received", b"AA", False), ("quarantined", b"AE", False), ("received", b"AA", True)]  # fmt: skip


def _letter(text: str, hold: inbox.Hold) -> inbox.Accepted:
    raw = text.encode()
    return inbox.Accepted(received=NOW, raw=raw, channel="x", order_key=1, control_id="1", ack=b"AA", hold=hold)
