"""Who looks at a source: one process of many, another one when it dies, nobody while the channel is drained."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
import pytest

from fhir_server.clock import clock
from fhir_server.context import Tenant
from fhir_server.engine.channel import Channel
from fhir_server.engine.directory import Directory
from fhir_server.engine.polling import Polling, Trouble
from fhir_server.errors import Busy
from fhir_server.operations.channels import Editor, apply, set_state
from fhir_server.store import polls
from fhir_server.store.database import Database
from fhir_server.store.polls import Hold, Look
from tests.engine.world import NOW, tenant_of

HOLD = 1.0


class Looker:
    """A source of a test: notes who looked, and fails as it is told."""

    def __init__(self, name: str, journal: list[str], trouble: list[Exception]) -> None:
        self.name, self.journal, self.trouble = name, journal, trouble
        self.closed = False

    async def look(self, how_far: Any) -> int:
        if self.trouble:
            raise self.trouble.pop(0)
        self.journal.append(self.name)
        return 2

    async def close(self) -> None:
        self.journal.append(f"{self.name} closed")


class World:
    """A tenant with a channel whose source is looked at all the time."""

    def __init__(self, db: Database, tenant: Tenant) -> None:
        self.db, self.tenant = db, tenant
        self.who = Editor(tenant.id, "ada", "tests", NOW)
        self.journal: list[str] = []
        self.trouble: list[Exception] = []
        self.made: list[Channel] = []

    async def save(self, **source: Any) -> None:
        given = {"name": "lab", "source": {"kind": "folder", "path": "lab", "every": 0.02, **source}}
        await apply(self.db, self.who, [msgspec.json.encode(given)])

    def polling(self, name: str) -> Polling:
        async def make(channel: Channel, hold: Hold) -> Looker:
            self.made.append(channel)
            return Looker(name, self.journal, self.trouble)

        ours = _Own(self.db, self.tenant)
        return Polling(self.db, ours, make, clock(), HOLD)

    @asynccontextmanager
    async def process(self, name: str) -> AsyncIterator[asyncio.Task[None]]:
        """Let a process look until the block ends."""
        task = asyncio.create_task(self.polling(name).run(0.05))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def looked(self) -> Look:
        nothing = Look("lab", None, None, None, 0, 0, None, None)
        return (await polls.all_of(self.db, self.tenant.id)).get("lab", nothing)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                await asyncio.sleep(0.01)

    async def until_told(self, holds: Callable[[Look], bool]) -> Look:
        async with asyncio.timeout(60):
            while not holds(told := await self.looked()):
                await asyncio.sleep(0.01)
        return told


class _Own(Directory):
    """Of the shared database, the channels of one tenant alone."""

    def __init__(self, db: Database, tenant: Tenant) -> None:
        super().__init__(db)
        self._tenant = tenant

    def polled(self) -> dict[tuple[int, str], Channel]:
        return {key: channel for key, channel in super().polled().items() if key[0] == self._tenant.id}


@pytest.fixture
async def world(database: Database) -> World:
    found = World(database, await tenant_of(database))
    await found.save()
    return found


async def test_of_two_processes_one_looks_and_the_other_takes_over_when_it_stops(world: World) -> None:
    async with world.process("one"):
        await world.until(lambda: len(world.journal) > 3)
        async with world.process("two"):
            await asyncio.sleep(HOLD)
            assert set(world.journal) == {"one"}
            assert len(world.made) == 1
            before = len(world.journal)
            await world.until(lambda: len(world.journal) > before)
    async with world.process("three"):
        await world.until(lambda: "three" in world.journal)
    told = await world.looked()
    assert told.held is None
    assert told.total == 2 * sum(1 for entry in world.journal if "closed" not in entry)
    assert told.taken == told.looked


async def test_another_takes_over_from_one_that_died_once_its_hold_has_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: Any) -> None:
        return None

    async with world.process("one"):
        await world.until(lambda: "one" in world.journal)
        monkeypatch.setattr(polls, "let_go", dies)
    assert (await world.looked()).held is not None
    async with world.process("two"):
        await world.until(lambda: "two" in world.journal)


async def test_one_that_lost_its_hold_looks_no_more(world: World) -> None:
    async with world.process("one"):
        await world.until(lambda: "one" in world.journal)
        thief = Hold(world.tenant.id, "lab", UUID(int=7))
        take = "update channel_poll set owner = %s, held = now() + interval '1 hour' where tenant_id = %s"
        await world.db.fetch(world.tenant.id, take, (thief.owner, thief.tenant_id))
        await world.until(lambda: "one closed" in world.journal)
        count = len(world.journal)
        await asyncio.sleep(HOLD)
        assert len(world.journal) == count
        # What the old one would note does not count any more.
        mine = Hold(world.tenant.id, "lab", UUID(int=8))
        assert not await polls.mark(world.db, mine, {"at": 1})
        assert await polls.mark(world.db, thief, {"at": 2})


async def test_what_went_wrong_is_noted_and_what_was_asked_for_is_waited(world: World) -> None:
    world.trouble += [Trouble("the folder is not there"), Trouble("again", seconds=0.1)]
    async with world.process("one"):
        told = await world.until_told(lambda look: look.total > 0)
    assert (told.failure, told.failures) == ("again", 0)
    assert told.failed is not None
    assert told.looked is not None
    assert told.looked > told.failed


@pytest.mark.parametrize("failure", [Busy("the database is away"), RuntimeError("a fault of ours")])
async def test_a_failure_of_another_kind_ends_nothing(world: World, failure: Exception) -> None:
    world.trouble.append(failure)
    async with world.process("one"):
        await world.until(lambda: "one" in world.journal)


async def test_a_drained_channel_is_not_looked_at_and_a_paused_one_is(world: World) -> None:
    async with world.process("one"):
        await world.until(lambda: "one" in world.journal)
        await set_state(world.db, world.who, "lab", "draining")
        await world.until(lambda: "one closed" in world.journal)
        world.journal.clear()
        await asyncio.sleep(0.2)
        assert world.journal == []
        await set_state(world.db, world.who, "lab", "paused")
        await world.until(lambda: "one" in world.journal)


async def test_a_channel_that_changes_is_looked_at_as_it_is_now(world: World) -> None:
    async with world.process("one"):
        await world.until(lambda: "one" in world.journal)
        await world.save(path="other")
        await world.until(lambda: len(world.made) > 1)
        assert [getattr(channel.polls, "path", None) for channel in world.made] == ["lab", "other"]
        assert "one closed" in world.journal


async def test_a_source_that_the_settings_do_not_allow_is_told(world: World) -> None:
    async def make(channel: Channel, hold: Hold) -> Looker:
        raise Trouble("no folder may be watched")

    polling = Polling(world.db, _Own(world.db, world.tenant), make, clock(), HOLD)
    task = asyncio.create_task(polling.run(0.05))
    told = await world.until_told(lambda look: look.failure is not None)
    assert told.failure == "no folder may be watched"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_process_ends_also_while_the_database_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> None:
        raise Busy("the database is away")

    async with asyncio.timeout(60), world.process("one"):
        await world.until(lambda: "one" in world.journal)
        monkeypatch.setattr(polls, "let_go", away)
    assert "one closed" in world.journal
