"""A search tree as one SELECT; a leaf of tree.py has its SQL here. http://hl7.org/fhir/R4/search.html

Every table names the tenant, beside row-level security, so that the policy becomes a filter checked once. Texts of
statements depend on the shape of a search and never on its values. The shapes are measured ones: tests/search holds
them to their indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, get_args

import msgspec

from conformance.r4.types import TYPE_CODES
from fhir_server.search import near, order
from fhir_server.search.held import HELD
from fhir_server.search.narrow import Narrow, OneDate, Params, Sql, entry, selective, table_of
from fhir_server.search.request import SearchRequest
from fhir_server.search.sort import Sort
from fhir_server.search.tree import (
    AllKeys,
    And,
    AnyKey,
    Consented,
    DateMatch,
    ElementMatch,
    Entry,
    Everything,
    IdIn,
    InCare,
    Not,
    Nothing,
    NumberMatch,
    OfCare,
    OfCases,
    OfClass,
    OfPatient,
    Or,
    Prefix,
    Present,
    Referred,
    Released,
    SelfKeyIn,
    StringContains,
    StringIs,
    StringStarts,
    Tree,
    Updated,
    Within,
    WordsMatch,
    all_of,
)
from fhir_server.store.shares import Shares

UNKNOWN = Shares()
_NARROW = frozenset(get_args(Entry))
# From so many conditions on, the planner takes them for independent and expects too many rows to meet them all.
_SEVERAL = 2
# Of 150,000 rows, none of which holds one of 1,000 keys: a walk in the order of time, which compares each row with each
# key, took 5.3 s, the index 12 ms. With 2,000 keys the index took 11 s as well, a walk that hashes them 0.3 s.
_SOME_KEYS, _MANY_KEYS = 20, 1000
_LIVE = "resource.tenant_id = %s and resource.type = %s and resource.body is not null"


class Statement(msgspec.Struct, frozen=True):
    """SQL with `%s` placeholders and its values; `pin` asks for a plan made for these values, not a generic one."""

    sql: str
    params: Params
    pin: bool


def select(request: SearchRequest, tenant_id: int, restrict: Tree, shares: Shares = UNKNOWN) -> Statement:
    """Return the statement for a page of rows, and one row more to tell of a next.

    A row is rid, id, version, updated, body, patient, type. Behind these columns stand the values of sort keys that are
    in no column, `order.behind`. `restrict` is what the grant may see, `shares` tells which keys are common.
    """
    tree = all_of((request.tree, restrict, _found_by(restrict)))
    parts = _of_one_date(tree.parts if isinstance(tree, And) else (tree,))
    rare = bool(shares.of) and near.rare(parts, shares)
    page = order.Page(request.sort, request.after, request.count + 1, tenant_id)
    if order.walkable(page.first) and not rare and not _few(tree):
        bounded, others = order.bounds(tree, page.first)
        if _conditions(others) < _SEVERAL:
            where = condition(others, tenant_id)
            lacking = _lacks(tree, page.first)
            return Statement(*order.walk(page, TYPE_CODES[request.type], where, bounded, lacking), True)
    hidden = rare or _conditions(tree) >= _SEVERAL
    care = _of_care(restrict)
    if order.by_time(page) and near.common([*parts, care] if care else parts, shares):
        live = order.rest(page, (_LIVE, (tenant_id, TYPE_CODES[request.type])))
        # Asked of a row that an index finds it costs nothing, of each row that is walked more than all the rest.
        beside = condition(care, tenant_id) if care else ("", ())
        asked = near.Asked(live, condition(tree, tenant_id), hidden or care is not None, beside)
        return Statement(*near.statement(page, asked, parts, shares), True)
    return Statement(*order.matches(page, _asked(tree, tenant_id, request.type), hidden), _pinned(tree))


def count(request: SearchRequest, tenant_id: int, restrict: Tree) -> Statement:
    """Return the statement for the number of rows that match, which reads every one of them.

    All of a type are counted in an index alone, less those that were deleted, of which there is an index too: whether
    a row has a body stands in the table only, which is a hundred times the size.
    """
    if isinstance(all_of((request.tree, restrict)), Everything):
        every = "select count(*) from resource where resource.tenant_id = %s and resource.type = %s"
        of_type = (tenant_id, TYPE_CODES[request.type])
        return Statement(f"select ({every}) - ({every} and resource.body is null)", of_type * 2, False)
    return found(request, tenant_id, restrict, "count(*)")


def found(request: SearchRequest, tenant_id: int, restrict: Tree, columns: str = "") -> Statement:
    """Return the statement for all rows that match, with these columns."""
    tree = all_of((request.tree, restrict, _found_by(restrict)))
    where, params = _asked(tree, tenant_id, request.type)
    return Statement(f"select {columns} from resource where {where}", params, _pinned(tree))  # noqa: S608


def matched(request: SearchRequest, tenant_id: int, restrict: Tree) -> Sql:
    """Return the condition on rows that match."""
    return _asked(all_of((request.tree, restrict, _found_by(restrict))), tenant_id, request.type)


def rows_of(resource_type: str, tree: Tree, tenant_id: int, restrict: Tree) -> Sql:
    """Return the condition on live rows of a type that a tree finds and the grant may see, and their order.

    A limit without an order would have the planner walk the table, and other tenants' rows, for a dense key.
    """
    tree = all_of((tree, restrict, _found_by(restrict)))
    where, params = _asked(tree, tenant_id, resource_type)
    hidden = " + interval '0'" if _conditions(tree) >= _SEVERAL else ""
    return f"{where} order by resource.updated{hidden} desc, resource.rid desc", params


def seen_by(restrict: Tree) -> Tree:
    """Return what the grant may see, with the key by which the index finds it."""
    return all_of((restrict, _found_by(restrict)))


def condition(tree: Tree, tenant_id: int) -> Sql:
    """Return what a statement on `resource` asks of a row beside tenant and type, with its values; "" for nothing."""
    return ("", ()) if isinstance(tree, Everything) else _where(tree, tenant_id)


def _asked(tree: Tree, tenant_id: int, resource_type: str) -> Sql:
    where, params = condition(tree, tenant_id)
    return f"{_LIVE} and {where}" if where else _LIVE, (tenant_id, TYPE_CODES[resource_type], *params)


def _found_by(restrict: Tree) -> Tree:
    """Return the key by which the index finds what the exact column then decides: every row of a patient holds it."""
    parts = restrict.parts if isinstance(restrict, And) else (restrict,)
    return all_of(AllKeys((part.self_key,)) for part in parts if isinstance(part, OfPatient))


def _of_care(restrict: Tree) -> OfCare | None:
    """Return by which keys the index finds what is in a practitioner's care, where all of it must be."""
    parts = restrict.parts if isinstance(restrict, And) else (restrict,)
    return next((OfCare(part.member, part.at) for part in parts if isinstance(part, InCare)), None)


def _few(tree: Tree) -> bool:
    """Tell whether few rows can match, whatever else is asked: of a patient, of an attorney's cases, or named."""
    parts = tree.parts if isinstance(tree, And) else (tree,)
    return any(isinstance(part, Nothing | OfPatient | OfCases | IdIn | SelfKeyIn) for part in parts)


def _lacks(tree: Tree, key: Sort) -> bool:
    """Tell whether what is asked for has no value of a key, so that walking along its values would find nothing."""
    parts = tree.parts if isinstance(tree, And) else (tree,)
    absent = [part.part for part in parts if isinstance(part, Not) and isinstance(part.part, Present)]
    return any(set(key.params) <= set(one.params) for one in absent)


def _conditions(tree: Tree | OneDate) -> int:
    """Return how many index conditions must hold together; a narrow window of dates counts for two.

    Where two meet, the planner takes them for independent, expects plenty of matches and walks the index of the order
    for a page that never fills (190 ms where 1.9 would do). Adding nothing to its column hides that index. One dense
    key alone must keep it (212 ms without). A narrow window of dates hides it too: what happened long ago was written
    long ago, at the far end of that walk.
    """
    match tree:
        case DateMatch():
            return 1 + selective((tree,))
        case OneDate(matches):
            return 1 + selective(matches)
        case AllKeys(keys):
            return len(keys)
        case AnyKey(keys):
            return 1 + (_SOME_KEYS < len(keys) <= _MANY_KEYS)
        case ElementMatch():
            # Its code and its number are two conditions, of which the planner knows no more than of others.
            return 1 + bool(tree.spans)
        case And(parts):
            return sum(map(_conditions, _of_one_date(parts)))
        case OfCases():
            # Its cases are known when it runs, so the planner takes half a percent of the rows to be of them.
            return _SEVERAL
        case Everything() | Nothing() | Updated() | Not() | OfPatient() | Within():
            return 0
        case OfClass() | Released() | InCare() | Consented():
            return 0
    return 1


def _pinned(tree: Tree) -> bool:
    """Tell whether the right plan depends on the values: a list of ids has one plan for all."""
    return not isinstance(tree, Everything | Nothing | IdIn)


def _where(tree: Tree | OneDate, tenant_id: int) -> Sql:
    kind = type(tree)
    if kind in HELD:
        return HELD[kind](tree, tenant_id)
    if kind in COLUMN:
        return COLUMN[kind](tree)
    match tree:
        case And(parts):
            return _joined(" and ", [_where(part, tenant_id) for part in _of_one_date(parts)])
        case Or(parts):
            return _either(parts, tenant_id)
        case Not(part):
            sql, params = _where(part, tenant_id)
            return f"not {sql}", params
        case StringStarts() | StringIs() | StringContains() | DateMatch() | NumberMatch() | Present() | OneDate():
            return _exists((tree,), tenant_id)
        case ElementMatch() | WordsMatch():
            return _exists((tree,), tenant_id)
        case Referred():
            return _referred(tree, tenant_id)
        case Within():
            return _within(tree, tenant_id)
    raise TypeError(f"no statement can be made of {kind.__name__}")


def _of_one_date(parts: Iterable[Tree]) -> list[Tree | OneDate]:
    """Return the parts with the comparisons of one and the same date put together: they bound one scan of an index."""
    given: list[Tree | OneDate] = list(parts)
    if DateMatch not in map(type, given):
        return given
    dates: dict[int, list[DateMatch]] = {}
    others: list[Tree | OneDate] = []
    for part in parts:
        if isinstance(part, DateMatch) and part.single:
            dates.setdefault(part.param, []).append(part)
        else:
            others.append(part)
    return [*others, *(OneDate(tuple(matches)) for matches in dates.values())]


def _joined(operator: str, pieces: Iterable[Sql]) -> Sql:
    found = list(pieces)
    return f"({operator.join(sql for sql, _ in found)})", tuple(value for _, params in found for value in params)


def _either(parts: tuple[Tree, ...], tenant_id: int) -> Sql:
    """Return an OR. PostgreSQL joins no table that stands under an OR, so rows of narrow tables are united before."""
    narrow = [part for part in parts if isinstance(part, Entry)] if not _NARROW.isdisjoint(map(type, parts)) else []
    if not narrow or not all(part in narrow or isinstance(part, AllKeys | AnyKey) for part in parts):
        return _joined(" or ", [_where(part, tenant_id) for part in parts])
    if len(narrow) == len(parts) and len({table_of(part) for part in narrow}) == 1:
        return _exists(narrow, tenant_id)
    pieces = [_rids(part, tenant_id) for part in parts]
    united = " union all ".join(sql for sql, _ in pieces)
    values = tuple(value for _, params in pieces for value in params)
    return f"exists (select from ({united}) found where found.rid = resource.rid)", values


def _exists(leaves: Sequence[Narrow], tenant_id: int) -> Sql:
    """Return that the row has an entry, of one narrow table, that one of the leaves asks for."""
    sql, params = _joined(" or ", [entry(leaf) for leaf in leaves])
    table = table_of(leaves[0])
    return f"exists (select from {table} x where x.tenant_id = %s and x.rid = resource.rid and {sql})", (
        tenant_id,
        *params,
    )


def _rids(leaf: Tree, tenant_id: int) -> Sql:
    if isinstance(leaf, Entry):
        table, (sql, params) = f"{table_of(leaf)} x", entry(leaf)
    else:
        table, (sql, params) = "resource", COLUMN[type(leaf)](leaf)
    return f"select rid from {table} where tenant_id = %s and {sql}", (tenant_id, *params)  # noqa: S608


def _referred(leaf: Referred, tenant_id: int) -> Sql:
    """Return that a row of another type refers to this one: a question for each row, where most have such a row."""
    where, params = _asked(leaf.tree, tenant_id, leaf.type)
    link = "(select array[resource.self_key # %s::bigint] as keys) link"
    rows = f"(select from resource where {where} and resource.keys @> link.keys) referrer"
    return f"exists (select from {link}, lateral {rows})", (leaf.salt, *params)


def _within(leaf: Within, tenant_id: int) -> Sql:
    """Return that this row refers to one of others: each of its few keys is tried as the reference."""
    pieces, params = [], []
    for types, tree in leaf.groups:
        where, values = condition(tree, tenant_id)
        pieces.append(f"(resource.type = any(%s::smallint[]) and {where or 'true'})")
        params += [[TYPE_CODES[name] for name in types], *values]
    link = "(select key # %s::bigint as self_key from unnest(resource.keys) key) link"
    rows = (
        "(select from resource where resource.tenant_id = %s and resource.self_key = link.self_key"
        f" and resource.body is not null and ({' or '.join(pieces) or 'false'})) target"
    )
    return f"exists (select from {link}, lateral {rows})", (leaf.salt, tenant_id, *params)


# ---- leaves that columns of the row answer ----------------------------------------------------------------------


def _updated(leaf: Updated) -> Sql:
    """Return the comparison of a moment, a point, with [low, high)."""
    low, high = (leaf.low,), (leaf.high,)
    table: dict[Prefix, Sql] = {
        "eq": ("(resource.updated >= %s and resource.updated < %s)", low + high),
        "ne": ("(resource.updated < %s or resource.updated >= %s)", low + high),
        "gt": ("resource.updated >= %s", high),
        "lt": ("resource.updated < %s", low),
        "ge": ("resource.updated >= %s", low),
        "le": ("resource.updated < %s", high),
        "sa": ("resource.updated >= %s", high),
        "eb": ("resource.updated < %s", low),
        "ap": ("(resource.updated >= %s and resource.updated < %s)", low + high),
    }
    return table[leaf.prefix]


def _any_key(leaf: AnyKey) -> Sql:
    if len(leaf.keys) <= _MANY_KEYS:
        return "resource.keys && %s::bigint[]", (list(leaf.keys),)
    return "exists (select from unnest(resource.keys) k where k = any(%s::bigint[]))", (list(leaf.keys),)


COLUMN: dict[type, Callable[[Any], Sql]] = {
    Everything: lambda leaf: ("true", ()),
    Nothing: lambda leaf: ("false", ()),
    AllKeys: lambda leaf: ("resource.keys @> %s::bigint[]", (list(leaf.keys),)),
    AnyKey: _any_key,
    IdIn: lambda leaf: ("resource.id = any(%s::text[])", (list(leaf.ids),)),
    OfPatient: lambda leaf: ("resource.patient = %s", (leaf.self_key,)),
    SelfKeyIn: lambda leaf: ("resource.self_key = any(%s::bigint[])", (list(leaf.keys),)),
    Updated: _updated,
}
