"""The versions of resources: the current rows and the old ones they replaced.

http://hl7.org/fhir/R4/http.html#history

Versions are found by time in the index of each type, the page is put together from those, and only then are bodies
read. Permission is asked of the current row, deleted or not: who may not see it sees no version of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from fhir_server.store.database import Database
from fhir_server.store.rows import Current


class Version(msgspec.Struct, frozen=True):
    """One version; `body` None means that it was the deletion.

    `patient` is that of the current one, `current` tells that it is that.
    """

    version: int
    updated: datetime
    body: bytes | None
    rid: int = 0
    type: int = 0
    id: str = ""
    patient: int | None = None
    current: bool = False


class Group(msgspec.Struct, frozen=True):
    """Types that are asked for under one condition on `resource`, "" for none."""

    types: Sequence[int]
    where: str = ""
    params: Sequence[Any] = ()


class Window(msgspec.Struct, frozen=True):
    """Which versions: updated since, current at some moment of `at`, after a place in the order, and how many."""

    count: int
    since: datetime | None = None
    at: tuple[datetime, datetime] | None = None
    after: tuple[datetime, int, int] | None = None
    descending: bool = True
    rid: int | None = None


_ONE = (
    "select version, updated, body, rid, type, %s::text as id from resource_history"
    " where tenant_id = %s and rid = %s and version = %s"
)
# When the next version came.
_REPLACED = (
    "coalesce((select n.updated from resource_history n where n.tenant_id = h.tenant_id and n.rid = h.rid"
    " and n.version = h.version + 1), resource.updated)"
)
_Sql = tuple[str, list[Any]]


async def version(db: Database, tenant_id: int, row: Current, number: int) -> Version | None:
    """Return one version of the resource, or None where it has none of that number."""
    of_row = (row.rid, row.type, row.id, row.patient)
    if number == row.version:
        return Version(row.version, row.updated, row.body, *of_row, True)
    rows = await db.fetch(tenant_id, _ONE, (row.id, tenant_id, row.rid, number))
    return next((Version(told, at, body, *of_row) for told, at, body, *_ in rows), None)


async def page(db: Database, tenant_id: int, groups: Sequence[Group], window: Window) -> list[Version]:
    """Return the versions of a window in its order, which is by time, row and version."""
    pieces = [
        piece for group in groups for piece in (_newest(tenant_id, group, window), _old(tenant_id, group, window))
    ]
    order = _order("found", window)
    sql = (
        f"with found as (select * from ({' union all '.join(sql for sql, _ in pieces)}) found"  # noqa: S608
        f" order by {order} limit %s)"
        " select found.version, found.updated,"
        " case when found.version = r.version then r.body else h.body end as body, r.rid, r.type, r.id, r.patient,"
        " found.version = r.version"
        " from found join resource r on r.tenant_id = %s and r.rid = found.rid"
        " left join resource_history h on h.tenant_id = %s and h.rid = found.rid and h.version = found.version"
        f" order by {order}"
    )
    values = [value for _, params in pieces for value in params]
    rows = await db.fetch(tenant_id, sql, (*values, window.count, tenant_id, tenant_id), custom_plan=True)
    return [Version(*row) for row in rows]


def _order(table: str, window: Window) -> str:
    way = "desc" if window.descending else "asc"
    return f"{table}.updated {way}, {table}.rid {way}, {table}.version {way}"


def _newest(tenant_id: int, group: Group, window: Window) -> _Sql:
    """Return the current versions of a group."""
    where, values = _within("resource", window)
    if window.at:
        where, values = f"{where} and resource.updated < %s", [*values, window.at[1]]
    return _each(
        "select resource.rid, resource.version, resource.updated from resource"  # noqa: S608
        f" where resource.tenant_id = %s and resource.type = t.type{where}{_and(group.where)}"
        f" order by {_order('resource', window)} limit %s",
        group,
        [tenant_id, *values, *group.params, window.count],
    )


def _old(tenant_id: int, group: Group, window: Window) -> _Sql:
    """Return the versions of a group that another has replaced."""
    where, values = _within("h", window)
    if window.at:
        where, values = f"{where} and h.updated < %s and {_REPLACED} > %s", [*values, window.at[1], window.at[0]]
    return _each(
        "select h.rid, h.version, h.updated from resource_history h"  # noqa: S608
        " join resource on resource.tenant_id = h.tenant_id and resource.rid = h.rid"
        f" where h.tenant_id = %s and h.type = t.type{where}{_and(group.where)}"
        f" order by {_order('h', window)} limit %s",
        group,
        [tenant_id, *values, *group.params, window.count],
    )


def _each(sql: str, group: Group, values: list[Any]) -> _Sql:
    """Return what is found in each type by itself: the index holds the order of one type."""
    wanted = "select v.* from unnest(%s::smallint[]) t (type) cross join lateral"
    return f"({wanted} ({sql}) v)", [list(group.types), *values]


def _within(table: str, window: Window) -> _Sql:
    where = ""
    values: list[Any] = []
    if window.rid is not None:
        where, values = f" and {table}.rid = %s", [window.rid]
    if window.since:
        where, values = f"{where} and {table}.updated >= %s", [*values, window.since]
    if window.after:
        sign = "<" if window.descending else ">"
        where = f"{where} and ({table}.updated, {table}.rid, {table}.version) {sign} (%s, %s, %s)"
        values = [*values, *window.after]
    return where, values


def _and(where: str) -> str:
    return f" and ({where})" if where else ""
