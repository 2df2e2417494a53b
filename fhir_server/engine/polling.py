"""Looks at the sources that have to be looked at: one process for each channel, another one when it dies.

Which process it is stands in the database, and is renewed while it looks. Should two look at one time all the same, the
same message is known by its number and content, and has no second effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias
from uuid import uuid4

import structlog

from fhir_server.clock import Clock
from fhir_server.engine.channel import Channel
from fhir_server.engine.directory import Directory
from fhir_server.errors import Busy
from fhir_server.store import polls
from fhir_server.store.database import Database
from fhir_server.store.polls import Hold

log = structlog.get_logger(__name__)
_LONGEST_PAUSE = 300.0


class Trouble(Exception):
    """A look that failed for a reason that a person should read; `seconds` is how long to wait, where it is known."""

    def __init__(self, text: str, seconds: float | None = None) -> None:
        super().__init__(text)
        self.seconds = seconds


class Poller(Protocol):
    """What looks at one source."""

    async def look(self, how_far: Any) -> int:
        """Take what is there and return how many messages came; `how_far` is what was noted last.

        Raises Trouble, and Busy where the database is away.
        """

    async def close(self) -> None:
        """Let go of files and connections."""


# Makes the poller of a channel that this process holds; raises Trouble where the settings do not allow it.
Make: TypeAlias = Callable[[Channel, Hold], Awaitable[Poller]]


class Polling:
    """Looks at all sources until it is cancelled. A hold lasts `seconds`, unless it is renewed."""

    def __init__(self, db: Database, directory: Directory, make: Make, clock: Clock, seconds: float = 30.0) -> None:
        self._db = db
        self._directory = directory
        self._make = make
        self._clock = clock
        self._seconds = seconds
        self._owner = uuid4()
        self._tasks: dict[tuple[int, str], tuple[Channel, asyncio.Task[None]]] = {}

    async def run(self, every: float = 5.0) -> None:
        """Follow the channels: one that is new or changed gets a task of its own, one that is gone loses it."""
        following = asyncio.create_task(self._directory.follow(every))
        try:
            while True:
                await self._adjust()
                await asyncio.sleep(min(every, 0.5))
        finally:
            following.cancel()
            tasks = [task for _, task in self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(following, *tasks, return_exceptions=True)

    async def _adjust(self) -> None:
        wanted = self._directory.polled()
        for key, (channel, task) in list(self._tasks.items()):
            if wanted.get(key) != channel or task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                del self._tasks[key]
        for key, channel in wanted.items():
            if key not in self._tasks:
                self._tasks[key] = channel, asyncio.create_task(self._follow(channel))

    async def _follow(self, channel: Channel) -> None:
        """Hold a channel whenever nobody else does, and look at it while we hold it."""
        mine = Hold(channel.tenant.id, channel.name, self._owner)
        while True:
            try:
                if await polls.hold(self._db, mine, self._seconds) is not None:
                    await self._held(channel, mine)
            except Busy:
                log.warning("database away, a source waits", channel=channel.name, database="busy")
            except Exception:
                log.exception("a source is looked at again after a failure of ours", channel=channel.name)
            await asyncio.sleep(self._seconds / 3)

    async def _held(self, channel: Channel, mine: Hold) -> None:
        """Look until the hold is lost or we are cancelled; then let go, so that another can begin at once."""
        looking = asyncio.create_task(self._look_for_ever(channel, mine))
        keeping = asyncio.create_task(self._keep(mine))
        try:
            await asyncio.wait({looking, keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            looking.cancel()
            keeping.cancel()
            results = await asyncio.gather(looking, keeping, return_exceptions=True)
            await self._let_go(mine)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _let_go(self, mine: Hold) -> None:
        """Let another have it; where the database is away, the hold ends by itself. Our own end must not hang on it."""
        try:
            await asyncio.shield(polls.let_go(self._db, mine))
        except Exception:
            log.warning("a source was not let go; its hold ends by itself", channel=mine.channel, database="busy")

    async def _keep(self, mine: Hold) -> None:
        """Renew the hold; return when another process has it."""
        while True:
            await asyncio.sleep(self._seconds / 3)
            if await polls.hold(self._db, mine, self._seconds) is None:
                log.warning("another process looks at a source now", channel=mine.channel)
                return

    async def _look_for_ever(self, channel: Channel, mine: Hold) -> None:
        assert channel.polls is not None
        every = channel.polls.every
        poller: Poller | None = None
        failures = 0
        try:
            while True:
                try:
                    poller = poller or await self._make(channel, mine)
                    how_far = await polls.hold(self._db, mine, self._seconds)
                    if how_far is None:
                        return
                    taken = await poller.look(how_far)
                    await polls.went_well(self._db, mine, taken, self._clock())
                    failures, pause = 0, every
                except Trouble as trouble:
                    failures += 1
                    pause = await self._troubled(mine, trouble, every, failures)
                    # A secret may be another one by then.
                    if poller is not None:
                        await poller.close()
                        poller = None
                await asyncio.sleep(pause)
        finally:
            if poller is not None:
                await poller.close()

    async def _troubled(self, mine: Hold, trouble: Trouble, every: float, failures: int) -> float:
        """Note what went wrong, and return how long to wait: longer each time, or as long as was asked for."""
        log.warning("a source could not be looked at", channel=mine.channel, attempt=failures)
        await polls.failed(self._db, mine, str(trouble), self._clock())
        longer = max(every, min(_LONGEST_PAUSE, every * 2.0 ** min(failures - 1, 20)))
        return max(longer, trouble.seconds or 0.0)
