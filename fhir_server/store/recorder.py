"""Audit of what only reads: rows of all requests that wait, of all tenants, are committed together.

A batch that meets no other goes out at once. Rows that come while it is under way wait for it and then go together, so
that a read costs a part of a commit and nobody waits to fill a batch. An answer leaves once its rows are committed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from fhir_server.errors import Busy
from fhir_server.store.audit import statement
from fhir_server.store.database import Database

# A row: its tenant's id as text, then the fields of Audited.
Row = tuple[Any, ...]
_Waiting = tuple[Sequence[Row], asyncio.Future[None]]


class Recorder:
    """Commits rows of the audit; use it on one event loop."""

    def __init__(self, db: Database, most: int = 1000) -> None:
        """`most` is how many rows go together at most, unless one request alone has more."""
        self._db = db
        self._most = most
        self._busy = False
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def record(self, rows: Sequence[Row]) -> None:
        """Return when the rows are committed. Raises errors.Busy where they cannot be: what they tell of must not be.

        Whoever is cancelled meanwhile does not know whether they are.
        """
        if self._busy:
            done = asyncio.get_running_loop().create_future()
            self._waiting.append((rows, done))
            await done
            return
        self._busy = True
        try:
            await self._commit(rows)
        except Exception as failure:
            raise refused(failure) from failure
        finally:
            if self._waiting:
                self._task = asyncio.get_running_loop().create_task(self._rest())
            else:
                self._busy = False

    async def _rest(self) -> None:
        try:
            while self._waiting:
                await self._together(self._next())
        finally:
            self._busy = False
            for _, done in self._waiting:
                done.cancel()
            self._waiting.clear()

    def _next(self) -> list[_Waiting]:
        """Return those who go next: the first, and as many more as fit; who left meanwhile was shown nothing."""
        batch = [self._waiting.popleft()]
        room = self._most - len(batch[0][0])
        while self._waiting and (room := room - len(self._waiting[0][0])) >= 0:
            batch.append(self._waiting.popleft())
        return [one for one in batch if not one[1].done()]

    async def _together(self, batch: Sequence[_Waiting]) -> None:
        try:
            if batch:
                await self._commit([row for rows, _ in batch for row in rows])
        except Exception as failure:
            if len(batch) > 1 and not isinstance(failure, Busy):
                # The others must not fail with the one that the database refuses.
                for one in batch:
                    await self._together([one])
            else:
                _tell(batch, refused(failure))
        else:
            _tell(batch, None)

    async def _commit(self, rows: Sequence[Row]) -> None:
        await self._db.fetch_aside(*statement(rows))


def refused(failure: Exception) -> Busy:
    """Return what a request is told whose row of the audit cannot be stored."""
    problem = Busy("the audit of this request cannot be stored, and nothing is shown without it")
    problem.__cause__ = failure
    return problem


def _tell(batch: Sequence[_Waiting], failure: Exception | None) -> None:
    for _, done in batch:
        if not done.done():
            if failure is None:
                done.set_result(None)
            else:
                done.set_exception(failure)
