"""A page of what is common: the newest rows first, and an index only where they do not fill it.

What many rows meet is best found by walking the index of time until the page is full; what few meet, by its own index.
The planner takes conditions for independent of each other and of the type, so it errs by a hundred times either way:
1,500 ms where 0.3 would do, among a million. So the walk is bounded, and what is rare is never walked for. Both bounds
grow with the square root of the table, and so does a search at worst.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import msgspec

from fhir_server.search.narrow import Narrow, OneDate, Params, Sql, probe, table_of
from fhir_server.search.order import ROW, Page
from fhir_server.search.tree import (
    AllKeys,
    And,
    AnyKey,
    DateMatch,
    IdIn,
    Nothing,
    NumberMatch,
    OfCare,
    OfCases,
    OfPatient,
    Or,
    SelfKeyIn,
    StringContains,
    StringIs,
    StringStarts,
    Tree,
)
from fhir_server.store.shares import Shares

# Of fewer resources every search is quick, and planning two ways is what costs.
_MANY = 25_000
# Rows that are walked.
_LEAST, _MOST = 500, 10_000
# What a row costs that an index finds, in rows that are walked: more where a narrow table is asked of each walked row.
_BY_KEY, _BY_ENTRY = 4, 2
# More of them for a larger page.
_PER_ROW = 5
_FOUND_BY_INDEX = (StringStarts, StringIs, StringContains, DateMatch, NumberMatch, OneDate, Or, OfCare)
# Rows that hold a key of which the statistics say nothing, such as that of a patient.
_OF_A_RARE_KEY = 8


class Asked(msgspec.Struct, frozen=True):
    """What a page holds: `live` are the rows after its position, `asked` is asked of them.

    `hidden` hides the index of time from the statement that finds them by another; `beside` is asked in that alone.
    """

    live: Sql
    asked: Sql
    hidden: bool
    beside: Sql = ("", ())


def walked(shares: Shares) -> int:
    """Return how many of the newest rows are looked at."""
    return max(_LEAST, min(_MOST, isqrt(100 * shares.rows)))


def rare(parts: Sequence[Tree | OneDate], shares: Shares) -> bool:
    """Tell whether one of the conditions that must all hold is met by few rows, for all that is known."""
    return any(_rare(part, shares) for part in parts)


def common(parts: Sequence[Tree | OneDate], shares: Shares) -> bool:
    """Tell whether some index could find the rows, and none is known to find few."""
    indexed = any(isinstance(part, (*_FOUND_BY_INDEX, AllKeys, AnyKey)) for part in parts)
    return shares.rows >= _MANY and bool(shares.of) and indexed and not rare(parts, shares)


def crowded(tree: Tree, shares: Shares) -> bool:
    """Tell whether a tree asks for keys alone, that many rows are known to hold."""
    return bool(shares.of) and isinstance(tree, AllKeys | AnyKey) and not _rare(tree, shares)


def _rare(part: Tree | OneDate, shares: Shares) -> bool:
    few = walked(shares) // _BY_KEY
    match part:
        case AllKeys(keys):
            return any(shares.of.get(key, 0.0) * shares.rows < few for key in keys)
        case AnyKey(keys):
            return sum(shares.of.get(key, 0.0) * shares.rows or _OF_A_RARE_KEY for key in keys) < few
        case Or(parts):
            return all(isinstance(one, AllKeys | AnyKey | IdIn) and _rare(one, shares) for one in parts)
        case And(parts):
            return rare(parts, shares)
    return isinstance(part, Nothing | IdIn | SelfKeyIn | OfPatient | OfCases)


def statement(page: Page, given: Asked, parts: Sequence[Tree | OneDate], shares: Shares) -> Sql:
    """Return the statement for the page: from the newest rows where they fill it, otherwise by the index.

    Both hold the same rows in the same order; only one of them is run to its end.
    """
    way = "desc" if page.first.descending else "asc"
    plain = f"resource.updated {way}, resource.rid {way}"
    other = f"resource.updated + interval '0' {way}, resource.rid {way}" if given.hidden else plain
    (live, live_values), (asked, asked_values) = given.live, given.asked
    beside = f" and {given.beside[0]}" if given.beside[0] else ""
    wide, wide_values = _wide(parts, page.tenant_id, walked(shares) // _BY_ENTRY)
    sql = (
        f"with near as materialized (select {ROW} from (select resource.* from resource where {live}{wide}"  # noqa: S608
        f" order by {plain} limit %s) resource where {_one_by_one(asked)} order by {plain} limit %s),"
        " full_page as materialized (select count(*) >= %s as yes from near)"
        " select * from (select * from near where (select yes from full_page) union all"
        f" (select {ROW} from resource where {live} and {asked}{beside} and not (select yes from full_page)"
        f" order by {other} limit %s)) page order by updated {way}, rid {way}"
    )
    most = walked(shares) + _PER_ROW * page.count
    values = (*live_values, *wide_values, most, *asked_values, page.count, page.count)
    return sql, (*values, *live_values, *asked_values, *given.beside[1], page.count)


def _wide(parts: Sequence[Tree | OneDate], tenant_id: int, least: int) -> Sql:
    """Return that the narrow tables have so many entries of each condition, as far as that is quickly told."""
    sql = ""
    values: Params = ()
    for part in parts:
        if found := [_counted(leaf, tenant_id, least) for leaf in _probed(part)]:
            sql += f" and {' + '.join(text for text, _ in found)} >= %s"
            values = (*values, *(value for _, params in found for value in params), least)
    return sql, values


def _probed(part: Tree | OneDate) -> list[Narrow]:
    """Return the leaves of a condition, any of which must hold, if all are quickly counted; otherwise none."""
    alternatives = part.parts if isinstance(part, Or) else (part,)
    quick = StringStarts | StringIs | DateMatch | NumberMatch | OneDate
    leaves: list[Narrow] = [one for one in alternatives if isinstance(one, quick)]
    return leaves if len(leaves) == len(alternatives) and all(map(probe, leaves)) else []


def _counted(leaf: Narrow, tenant_id: int, most: int) -> Sql:
    sql, values = probe(leaf) or ("false", ())
    entries = f"select from {table_of(leaf)} x where x.tenant_id = %s and {sql} limit %s"
    return f"(select count(*) from ({entries}) found)", (tenant_id, *values, most)  # noqa: S608


def _one_by_one(asked: str) -> str:
    """Return a condition so said that it is asked row by row: a join would read every entry before the first row."""
    return asked.replace("exists (select from idx_", "(select count(*) > 0 from idx_")
