"""The worker: order per patient, one effect per message, tries counted, and nothing a message does ends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

import msgspec
import pytest

from conformance.issue import error
from fhir_server.app import opened
from fhir_server.context import Tenant
from fhir_server.engine.channel import Channel, Retry, catch_all
from fhir_server.engine.steps import Stop, Work, each
from fhir_server.engine.worker import Worker
from fhir_server.errors import Busy, Invalid
from fhir_server.interactions.service import Service
from fhir_server.settings import Settings
from fhir_server.store import audit, inbox, messages
from fhir_server.store.audit import Audited
from fhir_server.store.database import Tx
from fhir_server.store.embedded import EmbeddedPostgres
from mappings.header import header
from tests.engine.world import NOW, PEER, adt, kept, receiver, shut, tenant_of


class World:
    """A service on a database of its own, one tenant, and a clock that a test can move."""

    def __init__(self, service: Service, tenant: Tenant) -> None:
        self.service, self.db, self.tenant = service, service.db, tenant
        self.now = NOW

    def worker(self, *way: Any, **more: Any) -> Worker:
        async def channel_of(tenant_id: int, name: str) -> Channel:
            return catch_all(self.tenant, name)

        more.setdefault("random", Random(1))
        more["way"] = tuple(each(step) for step in way)
        more.setdefault("new_id", lambda: "C1")
        return Worker(self.service, channel_of, lambda t: f"http://x/{t.name}/fhir", lambda: self.now, **more)

    async def send(self, *contents: bytes) -> None:
        door = receiver(self.db, self.tenant, clock=lambda: self.now)
        for content in contents:
            await door.message(content, PEER)

    async def states(self) -> list[tuple[str | None, str, int]]:
        return [(m.control_id, m.state, m.attempts) for m in await kept(self.db, self.tenant)]

    async def effects(self) -> list[str]:
        """Return the control ids whose effect was committed, in the order of their taking place."""
        sql = "select request_id from audit where tenant_id = %s and action = 'effect' order by id"
        return [name for (name,) in await self.db.fetch(self.tenant.id, sql, (self.tenant.id,))]


@pytest.fixture
async def world(postgres: EmbeddedPostgres, fresh_name: str) -> AsyncIterator[World]:
    settings = Settings.load(env="test", pool_max_size=8)
    async with opened(settings, postgres.server_dsn(fresh_name)) as concord:
        yield World(concord.service, await tenant_of(concord.db))


async def effect(work: Work) -> Work | Stop:
    """Leave a trace in the message's own transaction."""
    row = Audited(
        at=work.context.now,
        action="effect",
        subject="s",
        client="c",
        outcome=200,
        request_id=header(work.raw).control_id,
    )
    audit.record(work.tx, [row])
    return work


async def slow(work: Work) -> Work | Stop:
    await asyncio.sleep(0.002)
    return work


def failing(failure: Callable[[], BaseException], only: str = "", times: int = 10**9) -> Any:
    left = [times]

    async def fails(work: Work) -> Work | Stop:
        if header(work.raw).control_id.startswith(only) and left[0]:
            left[0] -= 1
            raise failure()
        return work

    return fails


async def test_what_is_due_is_done_and_nothing_is_left(world: World) -> None:
    await world.send(adt("A1"), adt("A2", "200"))
    assert await world.worker(effect).drain() == 2
    assert await world.states() == [("A1", "done", 1), ("A2", "done", 1)]
    assert await world.db.fetch(None, "select count(*) from job_ticket") == [(0,)]
    assert await world.worker(effect).drain() == 0


async def test_messages_of_one_patient_are_worked_in_the_order_they_came(world: World) -> None:
    sent = [adt(f"{patient}-{n:02}", patient) for n in range(12) for patient in ("P1", "P2", "P3")]
    await world.send(*sent)
    workers = [world.worker(slow, effect, concurrency=2) for _ in range(3)]
    await asyncio.gather(*(w.drain() for w in workers))
    effects = await world.effects()
    assert len(effects) == 36
    for patient in ("P1", "P2", "P3"):
        mine = [e for e in effects if e.startswith(patient)]
        assert mine == [f"{patient}-{n:02}" for n in range(12)]


async def test_other_patients_do_not_wait_for_one(world: World) -> None:
    running, most = 0, 0

    four = asyncio.Event()

    async def watched(work: Work) -> Work | Stop:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 4:
            four.set()
        await four.wait()
        await asyncio.sleep(0)
        running -= 1
        return work

    await world.send(*(adt(f"A{n}", str(n)) for n in range(8)))
    await asyncio.wait_for(world.worker(watched, concurrency=4, together=1).drain(), 60)
    assert most == 4


async def test_a_step_that_stops_buries_the_message_with_the_reason_and_its_bytes(world: World) -> None:
    async def stop(work: Work) -> Work | Stop:
        return Stop([error("not-supported", "there is no map for ZZZ", "MSH-9")])

    await world.send(adt("A1"))
    await world.worker(effect, stop).drain()
    (one,) = await kept(world.db, world.tenant)
    assert (one.state, one.attempts) == ("buried", 1)
    assert one.reason[0]["diagnostics"] == "there is no map for ZZZ"
    stored = await messages.show(world.db, world.tenant.id, one.id)
    assert stored is not None
    assert stored.raw == adt("A1")
    assert await world.effects() == []


async def transaction(work: Work) -> Work | Stop:
    """Leave the number of the transaction as the effect."""
    ((number,),) = await work.tx.fetch("select pg_current_xact_id()::text")
    row = Audited(at=work.context.now, action="effect", subject="s", client="c", outcome=200, request_id=number)
    audit.record(work.tx, [row])
    return work


async def test_what_waits_is_worked_together_in_few_transactions(world: World) -> None:
    await world.send(*(adt(f"A{n}", str(n)) for n in range(40)))
    assert await world.worker(transaction, concurrency=1, together=16).drain() == 40
    effects = await world.effects()
    assert sorted(effects.count(number) for number in set(effects)) == [8, 16, 16]


async def test_one_that_fails_takes_none_of_the_others_with_it(world: World) -> None:
    await world.send(*(adt(f"{'BAD' if n == 7 else 'A'}{n}", str(n)) for n in range(40)))
    await world.worker(effect, failing(lambda: Invalid("no"), only="BAD"), concurrency=3).drain()
    assert [(c, s, n) for c, s, n in await world.states() if s != "done"] == [("BAD7", "buried", 1)]
    effects = await world.effects()
    assert sorted(effects) == sorted(f"A{n}" for n in range(40) if n != 7)


async def test_one_that_stops_late_takes_back_its_own_effect_alone(world: World) -> None:
    async def stops(work: Work) -> Work | Stop:
        bad = header(work.raw).control_id == "BAD"
        return Stop([error("not-supported", "no", "MSH-9")]) if bad else work

    await world.send(adt("A1", "1"), adt("BAD", "2"), adt("A3", "3"))
    await world.worker(effect, stops).drain()
    assert await world.states() == [("A1", "done", 1), ("BAD", "buried", 1), ("A3", "done", 1)]
    assert sorted(await world.effects()) == ["A1", "A3"]


async def test_a_buried_message_does_not_hold_up_its_patient(world: World) -> None:
    await world.send(adt("BAD"), adt("GOOD"))
    await world.worker(failing(lambda: Invalid("no"), only="BAD"), effect).drain()
    assert await world.states() == [("BAD", "buried", 1), ("GOOD", "done", 1)]


async def test_a_failure_that_may_pass_is_tried_again_later_and_its_patient_waits(world: World) -> None:
    await world.send(adt("A1"), adt("A2"), adt("B1", "200"))
    fails = failing(lambda: Busy("locked"), only="A1", times=1)
    worker = world.worker(effect, fails, retry=Retry(base=10), together=1)
    await worker.drain()
    assert await world.states() == [("A1", "received", 1), ("A2", "received", 0), ("B1", "done", 1)]
    (first, *_) = await kept(world.db, world.tenant)
    assert first.due is not None
    assert timedelta(seconds=5) <= first.due - world.now <= timedelta(seconds=10)
    assert first.reason[0]["diagnostics"] == "locked"
    assert await world.worker(effect).drain() == 0
    world.now += timedelta(seconds=11)
    await worker.drain()
    assert await world.states() == [("A1", "done", 2), ("A2", "done", 1), ("B1", "done", 1)]
    assert await world.effects() == ["B1", "A1", "A2"]


async def test_after_the_last_try_it_is_buried(world: World) -> None:
    await world.send(adt("A1"))
    worker = world.worker(effect, failing(lambda: Busy("locked")), retry=Retry(attempts=3, base=1))
    for _ in range(5):
        await worker.drain()
        world.now += timedelta(seconds=60)
    assert await world.states() == [("A1", "buried", 3)]
    assert await world.effects() == []


@pytest.mark.parametrize("failure", [RecursionError, MemoryError, lambda: KeyError("x"), lambda: RuntimeError("boom")])
async def test_a_crash_inside_a_step_is_taken_back_counted_and_told(world: World, failure: Any) -> None:
    await world.send(adt("A1"), adt("B1", "200"))
    await world.worker(effect, failing(failure, only="A")).drain()
    assert await world.states() == [("A1", "received", 1), ("B1", "done", 1)]
    assert await world.effects() == ["B1"]
    (one, _) = await kept(world.db, world.tenant)
    assert "in step fails" in one.reason[0]["diagnostics"]


async def test_a_statement_that_fails_is_taken_back_and_counted(world: World) -> None:
    async def broken(work: Work) -> Work | Stop:
        work.tx.defer("insert into resource (tenant_id) values (1)")
        return work

    await world.send(adt("A1"), adt("B1", "200"))
    await world.worker(effect, broken).drain()
    assert [(s, n) for _, s, n in await world.states()] == [("received", 1), ("received", 1)]
    assert await world.effects() == []


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * 100_000])
@pytest.mark.parametrize("kind", [Invalid, RuntimeError])
async def test_a_reason_that_quotes_strange_bytes_can_be_kept(world: World, text: str, kind: type[Exception]) -> None:
    await world.send(adt("A1"), adt("B1", "200"))
    await world.worker(failing(lambda: kind(text), only="A"), effect, retry=Retry(attempts=1)).drain()
    assert [s for _, s, _ in await world.states()] == ["buried", "done"]
    (one, _) = await kept(world.db, world.tenant)
    assert one.reason[0]["diagnostics"]


async def test_a_failure_that_cannot_be_recorded_buries_the_message_and_blocks_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury = inbox.bury

    def bad(tx: Tx, message: inbox.Claimed, now: datetime, reason: Any, *more: Any) -> None:
        bury(tx, message, now, reason, *more)
        if reason[0].diagnostics == "no":
            tx.defer("select 1/0")

    monkeypatch.setattr(inbox, "bury", bad)
    await world.send(adt("A1"), adt("B1", "200"))
    await world.worker(failing(lambda: Invalid("no"), only="A"), effect).drain()
    assert await world.states() == [("A1", "buried", 1), ("B1", "done", 1)]


async def test_no_event_quotes_what_a_message_said(world: World, events: list[dict[str, Any]]) -> None:
    await world.send(adt("A1"))
    await world.worker(failing(lambda: Invalid("Meier is no name")), effect).drain()
    assert [e["event"] for e in events] == ["message failed", "message buried"]
    assert "Meier" not in repr(events)


async def test_a_message_replayed_is_worked_again(world: World) -> None:
    await world.send(adt("A1"))
    await world.worker(failing(lambda: Invalid("no"))).drain()
    (one,) = await kept(world.db, world.tenant)
    assert await messages.replay(world.db, world.tenant.id, [one.id]) == [one.id]
    await world.worker(effect).drain()
    assert await world.effects() == ["A1"]
    assert [s for _, s, _ in await world.states()] == ["done"]


@contextlib.asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[Worker]:
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await asyncio.wait_for(task, 60)


async def done(world: World, count: int) -> None:
    async with asyncio.timeout(60):
        while sum(state == "done" for _, state, _ in await world.states()) < count:
            await asyncio.sleep(0.01)


async def test_it_is_woken_by_the_commit_not_by_the_clock(world: World) -> None:
    async with running(world.worker(effect, poll=60)):
        await asyncio.sleep(0.2)
        for n in range(3):
            await world.send(adt(f"A{n}"))
            await done(world, n + 1)
            await asyncio.sleep(0.05)
    assert await world.effects() == ["A0", "A1", "A2"]


async def test_it_finds_what_waited_before_it_started(world: World) -> None:
    await world.send(adt("A1"))
    async with running(world.worker(effect, poll=60)):
        await done(world, 1)
    assert await world.effects() == ["A1"]


async def test_it_looks_from_time_to_time_for_what_it_was_not_told(world: World) -> None:
    await world.send(adt("A1"))
    async with running(world.worker(effect, failing(lambda: Busy("x"), times=1), retry=Retry(base=0.1), poll=0.2)):
        async with asyncio.timeout(60):
            while [tries for _, _, tries in await world.states()] != [1]:
                await asyncio.sleep(0.01)
        world.now += timedelta(seconds=1)
        await done(world, 1)
    assert await world.states() == [("A1", "done", 2)]


async def test_a_long_message_does_not_keep_it_from_hearing_of_others(world: World) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def held(work: Work) -> Work | Stop:
        if header(work.raw).control_id == "LONG":
            begun.set()
            await release.wait()
        return work

    async with running(world.worker(held, poll=60, concurrency=2)):
        await world.send(adt("LONG", "1"))
        await begun.wait()  # else the next would be taken together with it
        await world.send(adt("A1", "2"))
        await done(world, 1)
        await world.send(adt("A2", "3"))
        await done(world, 2)
        release.set()
        await done(world, 3)
    assert [state for _, state, _ in await world.states()] == ["done"] * 3


async def test_stopped_it_finishes_what_is_under_way_and_takes_nothing_new(world: World) -> None:
    begun = asyncio.Event()

    async def noted(work: Work) -> Work | Stop:
        begun.set()
        await asyncio.sleep(0.1)
        return work

    await world.send(adt("A1"), adt("A2"))
    worker = world.worker(noted, concurrency=1)
    async with running(worker):
        await begun.wait()
    assert await world.states() == [("A1", "done", 1), ("A2", "received", 0)]


async def test_it_outlives_the_database(world: World, postgres: EmbeddedPostgres, fresh_name: str) -> None:
    async with running(world.worker(effect, poll=0.1)):
        await world.send(adt("A1"))
        await done(world, 1)
        shut(postgres, fresh_name)
        await asyncio.sleep(0.3)
        shut(postgres, fresh_name, shut=False)
        await world.send(adt("A2"))
        await done(world, 2)
    assert await world.effects() == ["A1", "A2"]


@pytest.mark.parametrize(("attempt", "whole"), [(1, 1), (2, 2), (5, 16), (20, 100), (2000, 100)])
def test_waits_double_up_to_a_bound_and_are_spread(attempt: int, whole: float) -> None:
    waits = {Retry(base=1, most=100).delay(attempt, Random(seed)) for seed in range(50)}
    assert all(whole / 2 <= wait <= whole for wait in waits)
    assert len(waits) > 40


async def test_a_message_of_a_tenant_is_worked_in_that_tenant_alone(world: World) -> None:
    other = await tenant_of(world.db)
    seen: list[Any] = []

    async def look(work: Work) -> Work | Stop:
        rows = await work.tx.fetch("select count(*) from inbox")
        seen.append((work.tx.tenant_id, rows[0][0], msgspec.structs.asdict(work.context.grant)["tenant"]))
        return work

    await receiver(world.db, other).message(adt("X"), PEER)
    await world.send(adt("A1"))
    await world.worker(look).drain()
    assert sorted(s[:2] for s in seen) == sorted([(world.tenant.id, 1), (other.id, 1)])
