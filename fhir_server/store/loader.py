"""Reads by id that arrive together go to the database together.

A read that meets no other goes out at once. Those that arrive while it is under way wait for its answer and then share
one statement, so that the cost of a read falls as the load rises, and nobody waits to fill a group.

A read that is shown brings its row of the audit: the statement that reads adds it, in one round trip and one commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from fhir_server.store import audit
from fhir_server.store.database import Database
from fhir_server.store.recorder import Row, refused
from fhir_server.store.rows import COLUMNS, Current, one, read

_WANTED = f"select {COLUMNS} from resource where tenant_id = %s and type = wanted.type and id = wanted.id"  # noqa: S608
# LIMIT keeps the planner from turning this into a join of whole tables.
_TOGETHER = (
    f"select r.*, number from unnest(%s::smallint[], %s::text[]) with ordinality as wanted (type, id, number)"  # noqa: S608
    f" cross join lateral ({_WANTED} limit 1) r"
)
_TOGETHER_SHOWN = audit.showing_many(COLUMNS, _WANTED)

# Type, id, and the row of the audit, without which nothing is told of it.
_Key = tuple[int, str, Row | None]
_Waiting = dict[_Key, list[asyncio.Future[Current | None]]]


class Loader:
    """Reads current rows by type and id; use it on one event loop."""

    def __init__(self, db: Database, most: int = 64) -> None:
        self._db = db
        self._most = most
        # A tenant stands here while a statement of it is under way, with those who wait for the next; those that are
        # shown by themselves.
        self._waiting: dict[tuple[int, bool], _Waiting] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def read(self, tenant_id: int, type_code: int, id_: str, row: Row | None = None) -> Current | None:
        """Return the row, deleted or not, or None where there is none. Raises errors.Busy.

        `row` is what the audit is to tell: its type, id, version and patient become those of the resource, and it is
        committed with the answer, unless the resource is absent or deleted.
        """
        group, key = (tenant_id, row is not None), (type_code, id_, row)
        waiting = self._waiting.get(group)
        if waiting is None:
            return await self._first(group, key)
        future: asyncio.Future[Current | None] = asyncio.get_running_loop().create_future()
        waiting.setdefault(key, []).append(future)
        return await future

    async def _first(self, group: tuple[int, bool], key: _Key) -> Current | None:
        waiting: _Waiting = {}
        self._waiting[group] = waiting
        try:
            return await shown(self._db, group[0], *key)
        finally:
            if waiting:
                task = asyncio.get_running_loop().create_task(self._rest(group, waiting))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                del self._waiting[group]

    async def _rest(self, group: tuple[int, bool], waiting: _Waiting) -> None:
        try:
            while waiting:
                keys = list(waiting)[: self._most]
                await self._together(group[0], {key: waiting.pop(key) for key in keys})
        finally:
            del self._waiting[group]
            for future in (future for futures in waiting.values() for future in futures):
                future.cancel()

    async def _together(self, tenant_id: int, asked: _Waiting) -> None:
        try:
            found = await self._fetch(tenant_id, list(asked))
        except psycopg.Error:
            await self._alone(tenant_id, asked)
        except Exception as failure:
            _tell(asked, failure)
        else:
            _give(asked, found)

    async def _fetch(self, tenant_id: int, keys: Sequence[_Key]) -> dict[_Key, Current]:
        types, ids, told = zip(*keys, strict=True)
        columns = [list(column) for column in zip(*(audit.asked(row) for row in told if row), strict=True)]
        sql = _TOGETHER_SHOWN if columns else _TOGETHER
        rows = await self._db.fetch(tenant_id, sql, (list(types), list(ids), *columns, tenant_id))
        return {keys[number - 1]: Current(*row) for *row, number in rows}

    async def _alone(self, tenant_id: int, asked: _Waiting) -> None:
        """Find the read that the database refuses, so that the others do not fail with it."""
        if len(asked) > 1:
            for key, futures in asked.items():
                await self._together(tenant_id, {key: futures})
            return
        ((key, _),) = asked.items()
        try:
            found = await shown(self._db, tenant_id, *key)
        except Exception as problem:
            _tell(asked, problem)
        else:
            _give(asked, {key: found} if found else {})


async def shown(
    db: Database, tenant_id: int, type_code: int, id_: str, row: Row | None, where: str = "", params: Sequence[Any] = ()
) -> Current | None:
    """Return the row that also meets `where`, and tell `row` to the audit where it is given, as Loader.read says."""
    if row is None:
        return await read(db, tenant_id, type_code, id_, where, params)
    sql = audit.showing(COLUMNS, one(where))
    try:
        rows = await db.fetch(tenant_id, sql, (tenant_id, type_code, id_, *params, *audit.asked(row)))
    except psycopg.Error as failure:
        # Where it is the read that fails, it says so by itself.
        await read(db, tenant_id, type_code, id_, where, params)
        raise refused(failure) from failure
    return Current(*rows[0]) if rows else None


def _give(asked: _Waiting, found: Mapping[_Key, Current]) -> None:
    for key, futures in asked.items():
        for future in futures:
            if not future.done():
                future.set_result(found.get(key))


def _tell(asked: _Waiting, failure: Exception) -> None:
    for future in (future for futures in asked.values() for future in futures):
        if not future.done():
            future.set_exception(failure)
