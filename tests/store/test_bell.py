"""The bell: heard when work is committed, and no fault when it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fhir_server.store.bell import Bell
from fhir_server.store.database import Database
from fhir_server.store.tickets import CHANNEL


@pytest.fixture
async def bell(fresh_database: Database) -> AsyncIterator[Bell]:
    bell = Bell(fresh_database.dsn)
    assert await bell.wait(10)  # begins to listen and returns at once
    yield bell
    await bell.close()


async def ring(db: Database) -> None:
    await db.fetch(None, "select pg_notify(%s, '')", (CHANNEL,))


async def seconds(bell: Bell, patience: float) -> float:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await bell.wait(patience)
    return loop.time() - begun


async def test_it_is_heard_when_somebody_commits_work(bell: Bell, fresh_database: Database) -> None:
    waiting = asyncio.create_task(seconds(bell, 60))
    await asyncio.sleep(0.05)
    await ring(fresh_database)
    assert await waiting < 30


async def test_what_rang_before_the_wait_is_heard_too_and_ends(bell: Bell, fresh_database: Database) -> None:
    for _ in range(5):
        await ring(fresh_database)
    assert await seconds(bell, 60) < 30
    # PostgreSQL may hand them over one by one: they ring five times at most, and then it is silent.
    later = [await seconds(bell, 0.2) for _ in range(5)]
    assert later[-1] >= 0.15


async def test_silence_ends_after_the_time_given(bell: Bell) -> None:
    assert 0.05 <= await seconds(bell, 0.1) < 30


async def test_without_a_database_it_waits_and_says_so() -> None:
    bell = Bell("host=/nonexistent dbname=none user=none")
    begun = asyncio.get_running_loop().time()
    assert await bell.wait(0.1) is False
    assert asyncio.get_running_loop().time() - begun >= 0.09
    await bell.close()


async def test_it_listens_again_when_its_connection_was_ended(bell: Bell, fresh_database: Database) -> None:
    assert bell._connection is not None
    waiting = asyncio.create_task(bell.wait(2))
    pid = bell._connection.info.backend_pid
    await fresh_database.fetch(None, "select pg_terminate_backend(%s::int)", (pid,))
    assert await waiting is False
    assert await bell.wait(10) is True
    ringing = asyncio.create_task(seconds(bell, 60))
    await ring(fresh_database)
    assert await ringing < 30
