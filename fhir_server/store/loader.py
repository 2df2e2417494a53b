"""Reads by id that arrive together go to the database together.

A read that meets no other goes out at once. Those that arrive while it is under way wait for its answer and then share
one statement, so that the cost of a read falls as the load rises, and nobody waits to fill a group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import psycopg

from fhir_server.store.database import Database
from fhir_server.store.rows import COLUMNS, Current, read

# LIMIT keeps the planner from turning this into a join of whole tables.
_TOGETHER = (
    f"select r.* from unnest(%s::smallint[], %s::text[]) as wanted (type, id) cross join lateral"  # noqa: S608
    f" (select {COLUMNS} from resource where tenant_id = %s and type = wanted.type and id = wanted.id limit 1) r"
)

_Key = tuple[int, str]
_Waiting = dict[_Key, list[asyncio.Future[Current | None]]]


class Loader:
    """Reads current rows by type and id; use it on one event loop."""

    def __init__(self, db: Database, most: int = 64) -> None:
        self._db = db
        self._most = most
        # A tenant stands here while a statement of it is under way, with those who wait for the next.
        self._waiting: dict[int, _Waiting] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def read(self, tenant_id: int, type_code: int, id_: str) -> Current | None:
        """Return the row, deleted or not, or None where there is none. Raises errors.Busy."""
        waiting = self._waiting.get(tenant_id)
        if waiting is None:
            return await self._first(tenant_id, type_code, id_)
        future: asyncio.Future[Current | None] = asyncio.get_running_loop().create_future()
        waiting.setdefault((type_code, id_), []).append(future)
        return await future

    async def _first(self, tenant_id: int, type_code: int, id_: str) -> Current | None:
        waiting: _Waiting = {}
        self._waiting[tenant_id] = waiting
        try:
            return await read(self._db, tenant_id, type_code, id_)
        finally:
            if waiting:
                task = asyncio.get_running_loop().create_task(self._rest(tenant_id, waiting))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                del self._waiting[tenant_id]

    async def _rest(self, tenant_id: int, waiting: _Waiting) -> None:
        try:
            while waiting:
                keys = list(waiting)[: self._most]
                await self._together(tenant_id, {key: waiting.pop(key) for key in keys})
        finally:
            del self._waiting[tenant_id]
            for future in (future for futures in waiting.values() for future in futures):
                future.cancel()

    async def _together(self, tenant_id: int, asked: _Waiting) -> None:
        try:
            found = await self._fetch(tenant_id, list(asked))
        except psycopg.Error as failure:
            await self._alone(tenant_id, asked, failure)
        except Exception as failure:
            _tell(asked, failure)
        else:
            for key, futures in asked.items():
                for future in futures:
                    if not future.done():
                        future.set_result(found.get(key))

    async def _fetch(self, tenant_id: int, keys: Sequence[_Key]) -> dict[_Key, Current]:
        params = ([type_code for type_code, _ in keys], [id_ for _, id_ in keys], tenant_id)
        rows = await self._db.fetch(tenant_id, _TOGETHER, params)
        return {(row[1], row[2]): Current(*row) for row in rows}

    async def _alone(self, tenant_id: int, asked: _Waiting, failure: psycopg.Error) -> None:
        """Find the read that the database refuses, so that the others do not fail with it."""
        if len(asked) == 1:
            _tell(asked, failure)
            return
        for key, futures in asked.items():
            await self._together(tenant_id, {key: futures})


def _tell(asked: _Waiting, failure: Exception) -> None:
    for future in (future for futures in asked.values() for future in futures):
        if not future.done():
            future.set_exception(failure)
