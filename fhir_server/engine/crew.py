"""Several who look for work, woken by the database's bell, by time, and by each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from fhir_server.errors import Busy
from fhir_server.store.bell import Bell

log = structlog.get_logger(__name__)


class Crew:
    """Has `one` done again and again, by `size` at one time: it returns what it counts for, None with nothing to do."""

    def __init__(self, one: Callable[[], Awaitable[int | None]], size: int, bell: Bell, poll: float, what: str) -> None:
        """`bell` is rung where there is work, `poll` is in seconds; `what` is how the log calls the work."""
        self._one = one
        self._size = size
        self._bell = bell
        self._poll = poll
        self._what = what
        self._calls: asyncio.Queue[None] = asyncio.Queue(maxsize=size)
        self._stopping = asyncio.Event()

    async def drain(self) -> int:
        """Do all there is to do and return how much that was. Raises errors.Busy where the database is away."""
        return sum(await asyncio.gather(*(self._all() for _ in range(self._size))))

    async def run(self) -> None:
        """Do what comes, until stopped; what is under way then is finished first."""
        listening = asyncio.create_task(self._listen())
        hands = [asyncio.create_task(self._for_ever()) for _ in range(self._size)]
        try:
            await self._stopping.wait()
            await asyncio.gather(*hands)
        finally:
            for task in (listening, *hands):
                task.cancel()
            await asyncio.gather(listening, *hands, return_exceptions=True)
            await self._bell.close()

    def stop(self) -> None:
        """Begin nothing new; `run` returns when what is under way is done."""
        self._stopping.set()
        for _ in range(self._size):
            self.call()

    def call(self) -> None:
        """Have an idle one look; when all are called already, one of them will still look after this."""
        if not self._calls.full():
            self._calls.put_nowait(None)

    def call_in(self, seconds: float) -> None:
        """Have one look after so many seconds."""
        asyncio.get_running_loop().call_later(seconds, self.call)

    async def _listen(self) -> None:
        while True:
            await self._bell.wait(self._poll)
            self.call()

    async def _all(self) -> int:
        done = 0
        while not self._stopping.is_set() and (count := await self._one()) is not None:
            done += count
        return done

    async def _for_ever(self) -> None:
        while not self._stopping.is_set():
            await self._calls.get()
            try:
                await self._all()
            except Busy:
                log.warning("database away, work waits", what=self._what, database="busy")
                self.call_in(self._poll)
            except Exception:
                log.exception("work goes on after a failure of its own", what=self._what)
                self.call_in(self._poll)
