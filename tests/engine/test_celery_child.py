"""The child of a Celery worker: it has a worker sooner or later, whatever was away when it began."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fhir_server.engine.celery_app import Child


class Counting:
    """Drains nothing, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.drained = 0
        self.stopped = asyncio.Event()

    async def drain(self) -> int:
        self.drained += 1
        return self.drained

    async def run(self) -> None:
        await self.stopped.wait()

    def stop(self) -> None:
        self.stopped.set()


@pytest.mark.parametrize("failures", [0, 3])
def test_what_cannot_be_opened_is_tried_again_and_a_task_meanwhile_waits(failures: int) -> None:
    tries: list[str] = []

    @asynccontextmanager
    async def opened() -> AsyncIterator[Counting]:
        tries.append("open")
        if len(tries) <= failures:
            raise ConnectionRefusedError("the database is starting")
        yield Counting()

    child = Child(opened, pause=0.01)
    child.start()
    assert child.drain() == 1
    child.stop()
    assert len(tries) == failures + 1


def test_one_that_is_told_to_stop_before_it_could_open_stops() -> None:
    began = threading.Event()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Counting]:
        began.set()
        raise ConnectionRefusedError("the database is away")
        yield Counting()

    child = Child(opened, pause=600)
    child.start()
    assert began.wait(60)
    child.stop()
    assert child.drain() == 0
