"""Messages are found by what they say and what became of them, and the database alone tells nobody whose they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from fhir_server.app import Concord, opened
from fhir_server.app import messages as worker_of
from fhir_server.context import Context, Grant, Tenant
from fhir_server.engine.channel import catch_all
from fhir_server.operations import replaying
from fhir_server.operations.messages import Asked, moment, place, token, wanted
from fhir_server.settings import Settings
from fhir_server.store import inbox, jobs, message_search
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.inbox import Closed
from fhir_server.store.message_search import Place, Wanted
from tests.engine.world import NOW, PEER, adt, receiver, tenant_of

LAB = "MSH|^~\\&|LAB|NORTH|C|D|20260301110000||ORU^R01|{0}|P|2.5\rPID|1||{1}^^^NORTH^MR||Meier\rORC|RE|P{0}|F{0}\r"


class World:
    """An installation with a tenant whose inbox is to be searched."""

    def __init__(self, concord: Concord, tenant: Tenant) -> None:
        self.concord, self.tenant, self.now = concord, tenant, NOW

    async def send(self, *contents: bytes | str, channel: str = "his") -> None:
        given = {"clock": lambda: self.now}
        door = receiver(self.concord.db, catch_all(self.tenant, channel), hasher=self.concord.service.hasher, **given)
        for one in contents:
            await door.message(one.encode() if isinstance(one, str) else one, PEER)

    async def work(self) -> None:
        await worker_of(self.concord).drain()

    def wanted(self, **asked: Any) -> Wanted:
        return wanted(Asked(**asked), self.concord.service.hasher, self.tenant.id)

    async def found(self, limit: int = 50, **asked: Any) -> list[str | None]:
        """Return the control ids of all pages, the newest first."""
        ids: list[str | None] = []
        after: Place | None = None
        while True:
            page = await message_search.found(
                self.concord.db, self.tenant.id, self.wanted(**asked), self.now, after=after, limit=limit
            )
            ids += [m.control_id for m in page.messages]
            if (after := page.next) is None:
                return ids


@pytest.fixture
async def world(postgres: EmbeddedPostgres, fresh_name: str) -> AsyncIterator[World]:
    async with opened(Settings.load(env="test"), postgres.server_dsn(fresh_name)) as concord:
        yield World(concord, await tenant_of(concord.db))


async def test_each_field_finds_the_messages_that_say_so(world: World) -> None:
    await world.send(adt("A1"), adt("A2", "200"), adt("A3", event="A08"))
    await world.send(LAB.format("L1", "100"), LAB.format("L2", "200"), channel="lab")
    assert await world.found() == ["L2", "L1", "A3", "A2", "A1"]
    assert await world.found(patient="100") == ["L1", "A3", "A1"]
    assert await world.found(patient="NORTH|100") == ["L1", "A3", "A1"]
    assert await world.found(patient="SOUTH|100") == []
    assert await world.found(order="PL2") == ["L2"] == await world.found(order="FL2")
    assert await world.found(channels=["lab"]) == ["L2", "L1"]
    assert await world.found(types=["ADT"]) == ["A3", "A2", "A1"]
    assert await world.found(types=["ADT^A08", "ORU^R01"]) == ["L2", "L1", "A3"]
    assert await world.found(sender="LAB") == ["L2", "L1"] == await world.found(sender="LAB/NORTH")
    assert await world.found(sender="LAB/SOUTH") == []
    assert await world.found(control_id="A2") == ["A2"]
    assert await world.found(patient="100", order="PL1", channels=["lab"], types=["ORU"]) == ["L1"]
    assert await world.found(patient="100", channels=["his"]) == ["A3", "A1"]
    assert await world.found(patient="100", order="PL2") == []
    assert await world.found(states=["done"]) == [] == await world.found(channels=["no-such"])


async def test_what_became_of_them_finds_messages_too(world: World) -> None:
    await world.send(adt("A1"), adt("B1", "200").replace(b"ADT^A01^ADT_A01", b"ADT^A99"), b"MSH|^~\\&|X", adt("A2"))
    await world.work()
    assert await world.found(states=["done"]) == ["A2", "A1"]
    assert await world.found(states=["buried"]) == ["B1"]
    assert await world.found(states=["buried", "rejected"], channels=["his"]) == [None, "B1"]
    reason = (await world.concord.db.fetch(world.tenant.id, "select reason from inbox where state = 'buried'"))[0][0]
    words = reason[0]["diagnostics"].split()
    assert await world.found(error=" ".join(words[:4]).upper()) == ["B1"]
    assert await world.found(error="nosuchword " + words[0]) == []
    assert await world.found(error="MSH", states=["rejected"]) == [None]


async def test_pages_go_on_where_the_last_one_ended_over_days(world: World) -> None:
    for n in range(30):
        await world.send(adt(f"A{n:02}"), adt(f"B{n:02}", "200"))
        world.now += timedelta(hours=31)
    every = [f"{letter}{n:02}" for n in reversed(range(30)) for letter in "BA"]
    for limit in (1, 7, 60, 61):
        assert await world.found(limit) == every
    assert await world.found(4, patient="200") == every[::2] == await world.found(3, sender="HIS", patient="200")
    assert await world.found(4, since=NOW + timedelta(hours=31), until=NOW + timedelta(hours=93)) == every[54:58]


async def test_several_keys_that_rarely_meet_are_looked_for_to_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_search, "_TOGETHER", 2)
    monkeypatch.setattr(message_search, "_MOST", 3)
    await world.send(LAB.format("L0", "100"), *(adt(f"A{n}") for n in range(20)))
    assert await world.found(patient="100", types=["ORU"]) == ["L0"]
    assert await world.found(patient="100", order="PL0") == ["L0"]


async def test_no_number_of_a_patient_or_an_order_stands_in_the_database(
    world: World, postgres: EmbeddedPostgres
) -> None:
    numbers = [b"4711000815", b"ORD-99120", b"F-ORD-99120"]
    text = LAB.format("L1", "4711000815").replace("PL1", "ORD-99120").replace("FL1", "F-ORD-99120")
    await world.send(text, adt("X", "4711000815").replace(b"ADT^A01^ADT_A01", b"ADT^A99"))
    await world.work()
    assert await world.found(patient="4711000815") == ["X", "L1"]
    page = await message_search.found(world.concord.db, world.tenant.id, Wanted(), NOW)
    assert page.messages[1].patients == ["NORTH|4711000815"]
    assert page.messages[1].orders == ["ORD-99120", "F-ORD-99120"]
    assert page.messages[1].order_text == "patient|NORTH|4711000815"
    name = (await world.concord.db.fetch(None, "select current_database()"))[0][0]
    with psycopg.connect(postgres.admin_dsn(name)) as admin:
        for table in ("inbox", "message_key", "message_kind", "message_seen", "job_ticket"):
            rows = admin.execute(f"select t::text from {table} t".encode()).fetchall()
            told = "\n".join(row for (row,) in rows).encode()
            assert not [n for n in numbers if n in told or n.hex().encode() in told], table


async def test_another_clinic_finds_nothing(world: World) -> None:
    await world.send(adt("A1"))
    other = World(world.concord, await tenant_of(world.concord.db))
    for asked in ({}, {"patient": "100"}, {"control_id": "A1"}, {"channels": ["his"]}, {"states": ["received"]}):
        assert await other.found(**asked) == []
    theirs = world.wanted(patient="100")
    assert (await message_search.found(world.concord.db, other.tenant.id, theirs, NOW)).messages == []


async def test_a_place_in_an_address_is_one_that_a_page_gave(world: World) -> None:
    await world.send(adt("A1"), adt("A2"))
    page = await message_search.found(world.concord.db, world.tenant.id, Wanted(), NOW, limit=1)
    assert page.next is not None
    assert await place(world.concord.db, world.tenant.id, token(page.next)) == page.next
    assert await place(world.concord.db, world.tenant.id, str(page.next.id)) == page.next


def test_a_moment_is_written_as_people_do() -> None:
    assert moment("2h", NOW) == NOW - timedelta(hours=2)
    assert moment("2026-03-01T13:00+01:00", NOW) == NOW == moment("2026-03-01T12:00", NOW)


async def test_a_replay_goes_on_where_it_was_and_keeps_the_order_of_each_patient(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "_BATCH", 3)
    for n in range(10):
        await world.send(adt(f"A{n}", str(n % 2)))
        world.now += timedelta(days=5)
    await world.work()
    db, tenant = world.concord.db, world.tenant
    ctx = Context(Grant(tenant, "p", "c", ()), "", world.now, "r")
    await replaying.start(db, ctx, world.wanted(types=["ADT"], since=NOW + timedelta(days=5)))
    for looked in (3, 6, 9):
        async with db.transaction(None) as tx:
            job = await jobs.claim(tx, world.now)
            assert job is not None
            done = await replaying.batch(db, tx, job, world.now)
            (jobs.finish if done else jobs.go_on)(tx, job, world.now)
        (told,) = await replaying.listed(db, tenant.id)
        assert (told.looked, told.queued, told.state) == (looked, looked, "done" if done else "queued")
    taken = []
    while True:
        async with db.transaction(None) as tx:
            claimed = await inbox.claim(tx, world.now)
            if not claimed:
                break
            inbox.close(tx, [Closed(claimed[0], "done")], world.now)
            taken.append(claimed[0].control_id)
    assert sorted(taken) == [f"A{n}" for n in range(1, 10)]
    for parity in (0, 1):
        mine = [name for name in taken if name and int(name[1]) % 2 == parity]
        assert mine == sorted(mine)
