"""Group commit: what arrives while one commit is under way goes into the next one together.

One commit forces the disk once, whether it carries one row or two hundred. Nobody waits to fill a group: the first item
starts a commit at once, and groups form by themselves as soon as there is more to do than commits to do it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import psycopg

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupCommit(Generic[Item, Result]):
    """Collects items by tenant; `commit(tenant_id, items)` makes a group durable and returns a result for each."""

    def __init__(self, commit: Callable[[int, Sequence[Item]], Awaitable[Sequence[Result]]], most: int = 256) -> None:
        self._commit = commit
        self._most = most
        self._waiting: dict[int, deque[tuple[Item, asyncio.Future[Result]]]] = {}
        self._flushing: dict[int, asyncio.Task[None]] = {}

    async def submit(self, tenant_id: int, item: Item) -> Result:
        """Return the item's result once it is durable; raises what `commit` raised for it."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant_id, deque()).append((item, future))
        if tenant_id not in self._flushing:
            self._flushing[tenant_id] = asyncio.get_running_loop().create_task(self._flush(tenant_id))
        return await future

    async def _flush(self, tenant_id: int) -> None:
        waiting = self._waiting[tenant_id]
        try:
            while waiting:
                await self._group(tenant_id, [waiting.popleft() for _ in range(min(len(waiting), self._most))])
        finally:
            del self._flushing[tenant_id], self._waiting[tenant_id]
            for _, future in waiting:
                future.cancel()

    async def _group(self, tenant_id: int, group: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._commit(tenant_id, [item for item, _ in group])
        except psycopg.DataError as failure:
            await self._one_by_one(tenant_id, group, failure)
        except BaseException as failure:
            _tell(group, failure)
            if not isinstance(failure, Exception):
                raise
        else:
            for (_, future), result in zip(group, results, strict=True):
                if not future.done():  # its sender may have gone: the row is durable all the same
                    future.set_result(result)

    async def _one_by_one(
        self, tenant_id: int, group: Sequence[tuple[Item, asyncio.Future[Result]]], failure: psycopg.DataError
    ) -> None:
        """Find the item that the database cannot take, so that the others of its group do not fail with it."""
        if len(group) == 1:
            _tell(group, failure)
            return
        for pair in group:
            await self._group(tenant_id, [pair])


def _tell(group: Sequence[tuple[Item, asyncio.Future[Result]]], failure: BaseException) -> None:
    for _, future in group:
        if future.done():
            continue
        if isinstance(failure, asyncio.CancelledError):
            future.cancel()
        else:
            future.set_exception(failure)
