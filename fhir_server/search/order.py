"""The order of a page as SQL: by any keys, from where the last page ended. http://hl7.org/fhir/R4/search.html#sort

A page has one of two shapes. Where few rows match, all that match are read and sorted. Otherwise the index of the first
key is walked in its order until the page is full, and rows without a value come from a statement of their own behind
it. Rows are told apart last by their number, or by their id where the first value is missing: there is an index on the
ids of a type, and neither ever changes. Keys that stand in the body are not for statements: sort_values.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from fhir_server.search.narrow import Params, Sql, tiers
from fhir_server.search.request import Position
from fhir_server.search.sort import Kind, Sort
from fhir_server.search.tree import And, DateMatch, NumberMatch, Tree, all_of

ROW = "resource.rid, resource.id, resource.version, resource.updated, resource.body, resource.patient, resource.type"
# Table, column and SQL type of what a key compares.
_NARROW: dict[Kind, tuple[str, str, str]] = {
    "date": ("idx_date", "lo", "timestamptz"),
    "string": ("idx_string", "value", 'text collate "C"'),
    "number": ("idx_number", "lo", "float8"),
}
_COLUMN: dict[Kind, str] = {"updated": "updated", "id": "id"}
# What changes no value, and hides an index from the planner.
_HIDING: dict[Kind, str] = {"updated": " + interval '0'", "id": " || ''"}
# Longer values are compared by their beginning: they must go into a page token.
LONGEST = 200

Bounds = tuple[DateMatch | NumberMatch, ...]


class Page(msgspec.Struct, frozen=True):
    """Rows of a tenant in an order: `count` of them, after a position."""

    sort: tuple[Sort, ...]
    after: Position | None
    count: int
    tenant_id: int

    @property
    def first(self) -> Sort:
        """The key that counts first."""
        return self.sort[0]


def walkable(key: Sort) -> bool:
    """Tell whether an index of a narrow table gives rows in the order of a key."""
    return key.kind in _NARROW


def by_time(page: Page) -> bool:
    """Tell whether the moment of the last update alone orders a page."""
    return len(page.sort) == 1 and page.first.kind == "updated"


def rest(page: Page, where: Sql) -> Sql:
    """Return a condition on rows and that they come after the position of a page by time."""
    pieces = [where, *_after(page, ["resource.updated"], 0)]
    return " and ".join(sql for sql, _ in pieces), tuple(value for _, values in pieces for value in values)


def behind(sort: Sequence[Sort]) -> list[int]:
    """Return which keys' values a row of a page has behind its seven columns, in their order."""
    return [at for at, key in enumerate(sort) if key.kind not in _COLUMN]


def outer(sort: Sequence[Sort]) -> str:
    """Return the order of rows that a statement gave: also that of pages of several types, brought together."""
    names = [_COLUMN.get(key.kind, f"k{at}") for at, key in enumerate(sort)]
    return ", ".join([*_ordered(sort, names), *_last(sort[0], names[0], "id", "rid")])


def bounds(tree: Tree, key: Sort) -> tuple[Bounds, Tree]:
    """Return what a tree asks of the very values that a key walks along, where there is one at most, and the rest."""
    if not key.single or key.kind not in ("date", "number"):
        return (), tree
    parts = tree.parts if isinstance(tree, And) else (tree,)
    mine = tuple(p for p in parts if isinstance(p, DateMatch | NumberMatch) and p.param == key.params[0])
    return (mine, all_of(part for part in parts if part not in mine)) if mine else ((), tree)


# ---- all that match, sorted -------------------------------------------------------------------------------------


def matches(page: Page, where: Sql, hidden: bool) -> Sql:
    """Return the statement for rows that meet a condition on `resource`; `hidden` hides the index of the first key."""
    names = _names(page.sort)
    sides, values = _sides(page, range(len(page.sort)))
    conditions = [where, *_after(page, names, 0)]
    order = _ordered(page.sort, names)
    if hidden and page.first.kind in _COLUMN:
        order[0] = f"{names[0]}{_HIDING[page.first.kind]} {_way(page.first)}"
    order += _last(page.first, names[0], "resource.id", "resource.rid")
    return _select(page, names, f"resource{sides}", values, conditions, order)


def listed(page: Page, where: Sql, rids: Sequence[int]) -> Sql:
    """Return the statement for those of these rows that meet a condition, in no order.

    Keys that stand in the body have no value.
    """
    sides, values = _sides(page, range(len(page.sort)))
    columns = ", ".join([ROW, *_behind(page, _names(page.sort))])
    sql = f"select {columns} from resource{sides} where {where[0]} and resource.rid = any(%s::bigint[])"  # noqa: S608
    return sql, (*values, *where[1], list(rids))


# ---- along an index ---------------------------------------------------------------------------------------------


def walk(page: Page, kind: int, where: Sql, bounded: Bounds, lacking: bool = False) -> Sql:
    """Return the statement for rows of a type in the order of an index, and behind them those without a value.

    `bounded` is what the walked values must be; a row without one cannot be. `lacking` says that none has a value.
    """
    live = f"resource.tenant_id = %s and resource.body is not null{' and ' + where[0] if where[0] else ''}"
    values = (page.tenant_id, *where[1], kind)
    all_rows = f"{live} and resource.type = %s", values
    # Entries are of rows of the type. Where that is said plainly the planner expects only a part of them to be.
    entry_rows = f"{live} and nullif(resource.type = %s, false) is not null", values
    if lacking or (page.after and page.after.values[0] is None):
        return _without(page, all_rows)
    along = _along(page, entry_rows, bounded)
    if bounded:
        return along
    rest = _without(msgspec.structs.replace(page, after=None), all_rows)
    # Where the walk fills the page, the limit of none keeps the rest from being looked for.
    sql = (
        f"with walked as materialized ({along[0]}), rest as materialized (select * from ({rest[0]}) rest"  # noqa: S608
        " limit (select %s - count(*) from walked))"
        f" select * from (select * from walked union all select * from rest) page order by {outer(page.sort)}"
    )
    return sql, (*along[1], *rest[1], page.count)


def _along(page: Page, where: Sql, bounded: Bounds) -> Sql:
    """Return the statement for rows in the order of the index: one for each number that entries have, brought together.

    So each is a plain join, for which the planner weighs the walk against reading what matches.
    """
    numbers = zip(page.first.params, tiers(bounded, len(page.first.params)), strict=True)
    pieces = [_tier(page, where, param, bound) for param, bound in numbers]
    if len(pieces) == 1:
        return pieces[0]
    united = " union all ".join(f"({sql})" for sql, _ in pieces)
    sql = f"select * from ({united}) page order by {outer(page.sort)} limit %s"  # noqa: S608
    return sql, (*(value for _, values in pieces for value in values), page.count)


def _tier(page: Page, where: Sql, param: int, bound: Sql) -> Sql:
    key = page.first
    table, column, _ = _NARROW[key.kind]
    value = f"x.{column}"
    names = [value, *_names(page.sort)[1:]]
    sides, params = _sides(page, range(1, len(page.sort)))
    entry = f"x.tenant_id = %s and x.param = %s{bound[0]}", (page.tenant_id, param, *bound[1])
    conditions = [entry, where, *_foremost(page, value), *_further(page, names)]
    # Every entry has a value: said otherwise, the index would not serve.
    order = [f"{value} {_way(key)}", *_ordered(page.sort, names)[1:], f"x.rid {_way(key)}"]
    source = f"{table} x join resource on resource.rid = x.rid{sides}"
    return _select(page, names, source, params, conditions, order)


def _foremost(page: Page, value: str) -> list[Sql]:
    """Return that no other entry of the resource comes before `x`, where there may be others.

    So written that the planner neither joins nor hashes the table for it, nor expects that few rows pass.
    """
    key = page.first
    if key.single:
        return []
    table, column, _ = _NARROW[key.kind]
    before = ">" if key.descending else "<"
    earlier = f"y.{column} {before} {value} or (y.{column} = {value} and y.ctid < x.ctid)"
    sql = (
        f"(select nullif(bool_or({earlier}), true) from {table} y where y.tenant_id = %s and y.rid = x.rid"  # noqa: S608
        " and y.param = any(%s::int[])) is not null"
    )
    return [(sql, (page.tenant_id, list(key.params)))]


def _further(page: Page, names: Sequence[str]) -> list[Sql]:
    """Return that a row comes after the position, with a bound that an index understands."""
    if page.after is None:
        return []
    sign, name, value = _sign(page.first), names[0], page.after.values[0]
    if len(page.sort) == 1:
        return [(f"({name}, x.rid) {sign} (%s, %s)", (value, page.after.rid))]
    [(beyond, params)] = _after(page, names, 1)
    return [(f"{name} {sign}= %s and ({name} {sign} %s or {beyond})", (value, value, *params))]


def _without(page: Page, where: Sql) -> Sql:
    """Return the statement for rows that have no value of the first key, by the other keys and their ids."""
    key, others = page.first, range(1, len(page.sort))
    table, _, kind = _NARROW[key.kind]
    names = [f"null::{kind}", *_names(page.sort)[1:]]
    sides, values = _sides(page, others)
    none = (
        f"not exists (select from {table} x where x.tenant_id = %s and x.rid = resource.rid"
        " and x.param = any(%s::int[]))"
    )
    conditions = [where, (none, (page.tenant_id, list(key.params))), *_after(page, names, 1)]
    order = [*_ordered(page.sort, names)[1:], f"resource.id {_way(key)}"]
    return _select(page, names, f"resource{sides}", values, conditions, order)


# ---- pieces -----------------------------------------------------------------------------------------------------


def _select(
    page: Page, names: Sequence[str], source: str, params: Params, conditions: Sequence[Sql], order: Sequence[str]
) -> Sql:
    columns = ", ".join([ROW, *_behind(page, names)])
    sql = (
        f"select {columns} from {source} where {' and '.join(text for text, _ in conditions)}"  # noqa: S608
        f" order by {', '.join(order)} limit %s"
    )
    return sql, (*params, *(value for _, values in conditions for value in values), page.count)


def _behind(page: Page, names: Sequence[str]) -> list[str]:
    return [f"{names[at]} as k{at}" for at in behind(page.sort) if page.sort[at].kind != "body"]


def _names(sort: Sequence[Sort]) -> list[str]:
    """Return what the values of the keys are called: columns of the row, and those of `_sides`."""
    return [f"resource.{_COLUMN[key.kind]}" if key.kind in _COLUMN else f"s{at}.k{at}" for at, key in enumerate(sort)]


def _way(key: Sort) -> str:
    return "desc" if key.descending else "asc"


def _sign(key: Sort) -> str:
    return "<" if key.descending else ">"


def _ordered(sort: Sequence[Sort], names: Sequence[str]) -> list[str]:
    """Return the order by the keys; columns of the row are never null, and said to be so that their indexes serve."""
    return [
        f"{name} {_way(key)}{'' if key.kind in _COLUMN else ' nulls last'}"
        for name, key in zip(names, sort, strict=True)
    ]


def _last(first: Sort, name: str, id_: str, rid: str) -> list[str]:
    """Return what tells rows of equal values apart."""
    without = [f"case when {name} is null then {id_} end {_way(first)}"] if walkable(first) else []
    return [*without, f"{rid} {_way(first)}"]


def _sides(page: Page, which: Iterable[int]) -> Sql:
    """Return the joins that give each row the values of keys that are in no column, each worked out once."""
    sql = ""
    params: Params = ()
    for at in which:
        if page.sort[at].kind in _NARROW:
            value, more = _value(page.sort[at], page.tenant_id)
            sql += f" cross join lateral (select {value} as k{at} offset 0) s{at}"
            params = (*params, *more)
    return sql, params


def _value(key: Sort, tenant_id: int) -> Sql:
    best = "max" if key.descending else "min"
    table, column, _ = _NARROW[key.kind]
    sql = (
        f"(select {best}(y.{column}) from {table} y where y.tenant_id = %s and y.rid = resource.rid"  # noqa: S608
        " and y.param = any(%s::int[]))"
    )
    return sql, (tenant_id, list(key.params))


def _after(page: Page, names: Sequence[str], start: int) -> list[Sql]:
    """Return that a row comes after the position, by the keys from `start` on, those before it being alike."""
    if page.after is None:
        return []
    sort, first, sign, place = page.sort, page.first, _sign(page.first), page.after
    if len(sort) == 1 and first.kind in _COLUMN:
        return [(f"({names[0]}, resource.rid) {sign} (%s, %s)", (place.values[0], place.rid))]
    found: Sql = (f"resource.rid {sign} %s", (place.rid,))
    if walkable(first) and place.values[0] is None:
        found = (f"(resource.id, resource.rid) {sign} (%s, %s)", (place.id, place.rid))
    for at in range(len(sort) - 1, start - 1, -1):
        found = _beyond(sort[at], names[at], place.values[at], found)
    if start == 0 and first.kind in _COLUMN:
        # A bound that an index understands.
        found = (f"{names[0]} {sign}= %s and {found[0]}", (place.values[0], *found[1]))
    return [found]


def _beyond(key: Sort, name: str, value: Any, alike: Sql) -> Sql:
    """Return that a value comes after this one, or is alike and something else comes after; what is missing is last."""
    if value is None:
        return f"({name} is null and {alike[0]})", alike[1]
    missing = "" if key.kind in _COLUMN else f" or {name} is null"
    return f"({name} {_sign(key)} %s{missing} or ({name} = %s and {alike[0]}))", (value, value, *alike[1])
