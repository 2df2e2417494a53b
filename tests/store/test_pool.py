"""Connections come back whole, whatever their users and the server do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import psycopg
import pytest
import uvloop

from fhir_server import errors
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.wire import connect

HELD = "select pg_advisory_xact_lock_shared(4711)"
MINE = "select count(*) from pg_stat_activity where application_name = %s"


@pytest.fixture
async def single(server_dsn: str) -> AsyncIterator[Database]:
    """Give a database with one connection, so that whoever comes next gets the same one."""
    opened = await Database.open(server_dsn, max_size=1, acquire_timeout=5)
    yield opened
    await opened.close()


@contextlib.asynccontextmanager
async def held(admin_dsn: str) -> AsyncIterator[None]:
    """Keep the statement HELD from ending until the block ends."""
    async with await psycopg.AsyncConnection.connect(admin_dsn) as admin:
        await admin.execute("select pg_advisory_xact_lock(4711)")
        yield


async def backend(database: Database) -> int:
    ((pid,),) = await database.fetch(None, "select pg_backend_pid()")
    return int(pid)


async def test_who_finds_no_connection_free_waits_its_turn(single: Database) -> None:
    pids = await asyncio.gather(*(backend(single) for _ in range(20)))
    assert len(set(pids)) == 1


async def test_who_waits_too_long_is_told_that_the_server_is_busy(server_dsn: str) -> None:
    hasty = await Database.open(server_dsn, max_size=1, acquire_timeout=0.02)
    async with hasty.transaction(None) as tx:
        await tx.fetch("select 1")
        with pytest.raises(errors.Busy, match="in use"):
            await hasty.fetch(None, "select 1")
    assert await hasty.fetch(None, "select 1") == [(1,)]
    await hasty.close()


async def test_no_more_connections_are_made_than_allowed(server_dsn: str, admin_dsn: str) -> None:
    dsn = psycopg.conninfo.make_conninfo(server_dsn, application_name="limited")
    limited = await Database.open(dsn, min_size=2, max_size=3)
    await asyncio.gather(*(limited.fetch(None, "select pg_sleep(0.01)") for _ in range(12)))
    async with await psycopg.AsyncConnection.connect(admin_dsn, autocommit=True) as admin:
        row = await (await admin.execute(MINE, ("limited",))).fetchone()
        assert row == (3,)
        await limited.close()
        end = time.monotonic() + 30
        while row != (0,) and time.monotonic() < end:
            await admin.execute("select pg_sleep(0.02)")
            row = await (await admin.execute(MINE, ("limited",))).fetchone()
        assert row == (0,)


async def test_a_cancelled_reader_leaves_its_connection_usable(single: Database, admin_dsn: str) -> None:
    before = await backend(single)
    async with held(admin_dsn):
        task = asyncio.create_task(single.fetch(None, HELD))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await single.fetch(None, "select 7") == [(7,)]
    assert await backend(single) == before


async def test_the_statement_of_a_cancelled_reader_is_stopped(single: Database) -> None:
    task = asyncio.create_task(single.fetch(None, "select pg_sleep(60)"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    began = time.monotonic()
    assert await single.fetch(None, "select 7") == [(7,)]
    assert time.monotonic() - began < 30


async def test_a_cancelled_transaction_is_taken_back(single: Database, admin_dsn: str) -> None:
    inserted = asyncio.Event()
    await single.fetch(None, "create temporary table cancelled (n int)")

    async def work() -> None:
        async with single.transaction(None) as tx:
            await tx.fetch("insert into cancelled values (1) returning n")
            inserted.set()
            await tx.fetch(HELD)

    async with held(admin_dsn):
        task = asyncio.create_task(work())
        await inserted.wait()
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await single.fetch(None, "select count(*) from cancelled") == [(0,)]


async def test_who_is_cancelled_while_waiting_takes_nothing_away(single: Database) -> None:
    async with single.transaction(None) as tx:
        await tx.fetch("select 1")
        waiting = [asyncio.create_task(single.fetch(None, "select 1")) for _ in range(5)]
        await asyncio.sleep(0.01)
        for task in waiting[::2]:
            task.cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [outcome for outcome in outcomes if isinstance(outcome, list)] == [[(1,)]] * 2
    assert await single.fetch(None, "select 1") == [(1,)]


async def test_a_cancel_in_the_moment_a_connection_is_handed_over_loses_none(single: Database) -> None:
    for _ in range(30):
        task: asyncio.Task[object]
        async with single.transaction(None) as tx:
            await tx.fetch("select 1")
            task = asyncio.create_task(single.fetch(None, "select 1"))
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert await single.fetch(None, "select 1") == [(1,)]


async def test_a_lost_connection_is_busy_and_then_replaced(single: Database, admin_dsn: str) -> None:
    pid = await backend(single)

    async def kill() -> None:
        await asyncio.sleep(0.02)
        async with await psycopg.AsyncConnection.connect(admin_dsn) as admin:
            await admin.execute("select pg_terminate_backend(%s)", (pid,))

    killing = asyncio.create_task(kill())
    with pytest.raises(errors.Busy):
        await single.fetch(None, "select pg_sleep(30)")
    await killing
    assert await backend(single) != pid


async def test_an_idle_connection_that_the_server_closed_is_noticed(single: Database, admin_dsn: str) -> None:
    pid = await backend(single)
    async with await psycopg.AsyncConnection.connect(admin_dsn) as admin:
        await admin.execute("select pg_terminate_backend(%s, 5000)", (pid,))
    await asyncio.sleep(0.05)
    assert await backend(single) != pid


async def test_who_waits_for_a_connection_that_is_lost_gets_a_new_one(single: Database, admin_dsn: str) -> None:
    async def doomed() -> None:
        async with single.transaction(None) as tx:
            ((pid,),) = await tx.fetch("select pg_backend_pid()")
            async with await psycopg.AsyncConnection.connect(admin_dsn) as admin:
                await admin.execute("select pg_terminate_backend(%s)", (pid,))
            await tx.fetch("select pg_sleep(30)")

    task = asyncio.create_task(doomed())
    await asyncio.sleep(0.005)
    assert await single.fetch(None, "select 1") == [(1,)]
    with pytest.raises(errors.Busy):
        await task


async def test_a_statement_that_cannot_be_sent_does_not_break_what_follows(single: Database) -> None:
    with pytest.raises(TypeError, match="no SQL form for object"):
        await single.fetch(None, "select %s", (object(),))
    assert await single.fetch(None, "select 1") == [(1,)]


async def test_a_text_with_a_nul_is_refused_and_never_cut_short(single: Database) -> None:
    pid = await backend(single)
    for value in ("a\0b", ["a\0b"]):
        with pytest.raises(errors.Invalid, match="NUL") as told:
            await single.fetch(None, "select 'a' = %s", (value,))
        assert isinstance(told.value, psycopg.DataError)
    assert await backend(single) == pid


async def test_a_broken_statement_does_not_break_what_follows(single: Database) -> None:
    for _ in range(7):
        with pytest.raises(psycopg.errors.UndefinedTable):
            await single.fetch(None, "select 1 from nowhere")
    assert await single.fetch(None, "select 1") == [(1,)]


async def test_a_failure_at_the_very_commit_is_not_taken_for_success(single: Database) -> None:
    await single.fetch(None, "create temporary table late (n int unique deferrable initially deferred)")

    async def twice() -> None:
        async with single.transaction(None) as tx:
            tx.defer("insert into late values (1)")
            tx.defer("insert into late values (1)")

    with pytest.raises(errors.Conflict):
        await twice()
    with pytest.raises(errors.Conflict):
        await single.fetch(None, "insert into late values (2), (2)")
    assert await single.fetch(None, "select count(*) from late") == [(0,)]


async def test_large_batches_go_both_ways(single: Database) -> None:
    blob = bytes(range(256)) * 40_000
    rows = await single.fetch(None, "select b from unnest(%s::bytea[]) b", ([blob, None, b"", blob],))
    assert rows == [(blob,), (None,), (b"",), (blob,)]


async def test_the_same_statement_is_prepared_after_a_few_uses(single: Database) -> None:
    for n in range(8):
        assert await single.fetch(None, "select %s + 1", (n,)) == [(n + 1,)]
    assert await single.fetch(None, "select %s + 1", (None,)) == [(None,)]
    (prepared,) = await single.fetch(
        None, "select count(*) from pg_prepared_statements where statement like 'select $1 + 1'"
    )
    assert prepared == (1,)


async def test_the_pool_recovers_after_postgresql_was_restarted(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "data", {"fsync": "off"}).start()
    pool = await Database.open(server.admin_dsn(), min_size=2, max_size=4)
    try:
        running = asyncio.gather(*(pool.fetch(None, "select pg_sleep(30)") for _ in range(6)), return_exceptions=True)
        await asyncio.sleep(0.05)
        await asyncio.to_thread(server.stop)
        assert {type(outcome) for outcome in await running} == {errors.Busy}
        with pytest.raises(errors.Busy):
            await pool.fetch(None, "select 1")
        await asyncio.to_thread(server.start)
        assert await asyncio.gather(*(pool.fetch(None, "select 1") for _ in range(6))) == [[(1,)]] * 6
    finally:
        await pool.close()
        server.stop()


async def test_a_closed_pool_tells_those_who_wait(server_dsn: str) -> None:
    closing = await Database.open(server_dsn, max_size=1)
    async with closing.transaction(None) as tx:
        await tx.fetch("select 1")
        waiting = asyncio.create_task(closing.fetch(None, "select 1"))
        await asyncio.sleep(0.01)
        await closing.close()
        with pytest.raises(errors.Busy, match="stopping"):
            await waiting
        assert await tx.fetch("select 1") == [(1,)]


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("unread", [10, 3_000_000])
def test_who_waits_is_told_when_the_server_goes_with_statements_unread(
    server_dsn: str, admin_dsn: str, runner: Callable[[Coroutine[Any, Any, None]], None], unread: int
) -> None:
    """libuv stops watching such a socket and tells nobody."""

    async def ended() -> None:
        wire = await connect(server_dsn)
        answer = wire.send([("select pg_sleep(60)", ()), *([("select length(%s::text)", ("x" * unread,))] * 5)])
        async with await psycopg.AsyncConnection.connect(admin_dsn, autocommit=True) as admin:
            await admin.execute("select pg_terminate_backend(%s)", (wire._pg.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            await asyncio.wait_for(answer, 30)
        assert wire.lost

    for _ in range(3):
        runner(ended())
