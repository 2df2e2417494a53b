"""Connections of one process: handed out newest first, mended when the server comes back, never more than the limit."""

from __future__ import annotations

import asyncio
from collections import deque

import psycopg

from fhir_server import errors
from fhir_server.store.wire import Wire, connect

_STOPPING = "the server is stopping"
# How long a connection whose user was cancelled may take to finish, and then to obey a cancel request.
_FINISH, _OBEY = 1.0, 5.0


class Pool:
    """Use it on the event loop it was opened on."""

    def __init__(self, dsn: str, *, min_size: int, max_size: int, acquire_timeout: float) -> None:
        self._dsn = dsn
        self._min_size = min_size
        self._max_size = max_size
        self._acquire_timeout = acquire_timeout
        self._size = 0
        self._idle: list[Wire] = []
        self._waiters: deque[asyncio.Future[Wire]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def open(self) -> None:
        """Make the first connections. Raises psycopg.OperationalError where the database cannot be reached."""
        for _ in range(self._min_size):
            self._idle.append(await self._connect())

    async def close(self) -> None:
        """Close all idle connections now and each one in use when it comes back."""
        self._closed = True
        for wire in self._idle:
            wire.close()
        self._idle.clear()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(errors.Busy(_STOPPING))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def take(self) -> Wire:
        """Return a connection that is ours until `give`. Raises errors.Busy when none is free or can be made."""
        if self._closed:
            raise errors.Busy(_STOPPING)
        while self._idle:
            wire = self._idle.pop()
            if wire.lost is None:
                return wire
            self._size -= 1
        if self._size < self._max_size:
            return await self._connected()
        return await self._awaited()

    def give(self, wire: Wire) -> None:
        """Take a connection back; one that is lost, worn or left in a transaction is closed."""
        if wire.busy and not self._closed:
            self._later(self._recover(wire))
        elif self._closed or wire.lost is not None or wire.worn or wire.in_transaction:
            wire.close()
            self._size -= 1
            self._replace()
        elif (waiter := self._next_waiter()) is not None:
            waiter.set_result(wire)
        else:
            self._idle.append(wire)

    async def _connect(self) -> Wire:
        self._size += 1
        try:
            return await connect(self._dsn)
        except BaseException:
            self._size -= 1
            raise

    async def _connected(self) -> Wire:
        try:
            return await self._connect()
        except psycopg.OperationalError as failure:
            self._replace()
            raise errors.Busy("the database cannot be reached") from failure

    async def _awaited(self) -> Wire:
        waiter: asyncio.Future[Wire] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        timer = asyncio.get_running_loop().call_later(self._acquire_timeout, _give_up, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            # Handed to us in the moment we were cancelled: nobody else would give it back.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.give(waiter.result())
            raise
        finally:
            timer.cancel()

    def _next_waiter(self) -> asyncio.Future[Wire] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _replace(self) -> None:
        """Make a connection for whoever waits for the one that was lost."""
        if not self._closed and self._waiters and self._size < self._max_size:
            self._later(self._connect_for_waiter())

    async def _connect_for_waiter(self) -> None:
        try:
            self.give(await self._connect())
        except psycopg.OperationalError:
            if (waiter := self._next_waiter()) is not None:
                waiter.set_exception(errors.Busy("the database cannot be reached"))
            self._replace()

    async def _recover(self, wire: Wire) -> None:
        """Bring a connection to rest whose user left in the middle of a statement."""
        if not await wire.rest(_FINISH):
            try:
                await asyncio.to_thread(wire.canceller())
            except psycopg.OperationalError:
                wire.close()
            if not await wire.rest(_OBEY):
                wire.close()
        if wire.lost is None and wire.in_transaction:
            try:
                await asyncio.wait_for(wire.send([("rollback", ())]), _OBEY)
            except (psycopg.OperationalError, TimeoutError):
                wire.close()
        self.give(wire)

    def _later(self, work: asyncio._CoroutineLike[None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _give_up(waiter: asyncio.Future[Wire]) -> None:
    if not waiter.done():
        waiter.set_exception(errors.Busy("all database connections are in use"))
