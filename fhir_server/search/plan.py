"""A search tree as one SELECT; a leaf of tree.py has its SQL here. http://hl7.org/fhir/R4/search.html

Every table names the tenant, beside row-level security, so that the policy becomes a filter checked once. Texts of
statements depend on the shape of a search and never on its values. The shapes are measured ones: tests/search holds
them to their indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from conformance.r4.types import TYPE_CODES
from fhir_server.search.date import BEGINNING, LONGEST
from fhir_server.search.request import SearchRequest
from fhir_server.search.text import after
from fhir_server.search.tree import (
    AllKeys,
    And,
    AnyKey,
    DateMatch,
    Everything,
    IdIn,
    Not,
    Nothing,
    NumberMatch,
    OfPatient,
    Or,
    Prefix,
    StringStarts,
    Tree,
    Updated,
    all_of,
)

Params = tuple[Any, ...]
Sql = tuple[str, Params]

_COLUMNS = "rid, id, version, updated, body"
_LIVE = "resource.tenant_id = %s and resource.type = %s and resource.body is not null"


class Statement(msgspec.Struct, frozen=True):
    """SQL with `%s` placeholders and its values; `pin` asks for a plan made for these values, not a generic one."""

    sql: str
    params: Params
    pin: bool


def select(request: SearchRequest, tenant_id: int, restrict: Tree) -> Statement:
    """Return the statement for a page of rows (rid, id, version, updated, body), and one row more to tell of a next.

    `restrict` is what the grant may see.
    """
    tree = all_of((request.tree, restrict))
    where, params = _asked(tree, tenant_id, request.type)
    descending = request.sort[0].descending
    if request.after:
        where += f" and (resource.updated, resource.rid) {'<' if descending else '>'} (%s, %s)"
        params += (request.after.updated, request.after.rid)
    sql = f"select {_COLUMNS} from resource where {where} order by {_order(tree, descending)} limit %s"  # noqa: S608
    return Statement(sql, (*params, request.count + 1), _pinned(tree))


def count(request: SearchRequest, tenant_id: int, restrict: Tree) -> Statement:
    """Return the statement for the number of rows that match, which reads every one of them in the index."""
    tree = all_of((request.tree, restrict))
    where, params = _asked(tree, tenant_id, request.type)
    return Statement(f"select count(*) from resource where {where}", params, _pinned(tree))  # noqa: S608


def condition(tree: Tree, tenant_id: int) -> Sql:
    """Return what a statement on `resource` asks of a row beside tenant and type, with its values; "" for nothing."""
    return ("", ()) if isinstance(tree, Everything) else _where(tree, tenant_id)


def _asked(tree: Tree, tenant_id: int, resource_type: str) -> Sql:
    where, params = condition(tree, tenant_id)
    return f"{_LIVE} and {where}" if where else _LIVE, (tenant_id, TYPE_CODES[resource_type], *params)


def _order(tree: Tree, descending: bool) -> str:
    """Return the order; both columns run the same way, so that a row-value comparison pages.

    Where two conditions meet, the planner takes them for independent, expects plenty of matches and walks the time
    index for a page that never fills (190 ms where 1.9 would do). Adding nothing to the column hides that index. One
    dense key alone must keep it (212 ms without).
    """
    way = "desc" if descending else "asc"
    time = "resource.updated" if _conditions(tree) < 2 else "resource.updated + interval '0'"
    return f"{time} {way}, resource.rid {way}"


def _conditions(tree: Tree) -> int:
    """Return how many index conditions must hold together."""
    match tree:
        case AllKeys(keys):
            return len(keys)
        case And(parts):
            return sum(map(_conditions, parts))
        case Everything() | Nothing() | Updated() | Not():
            return 0
    return 1


def _pinned(tree: Tree) -> bool:
    """Tell whether the right plan depends on the values: a list of ids has one plan for all."""
    return not isinstance(tree, Everything | Nothing | IdIn)


def _where(tree: Tree, tenant_id: int) -> Sql:
    match tree:
        case And(parts):
            return _joined(" and ", parts, tenant_id)
        case Or(parts):
            return _either(parts, tenant_id)
        case Not(part):
            sql, params = _where(part, tenant_id)
            return f"not {sql}", params
    if source := NARROW.get(type(tree)):
        sql, params = source(tree, tenant_id)
        return f"exists (select from ({sql}) found where found.rid = resource.rid)", params
    return COLUMN[type(tree)](tree)


def _joined(operator: str, parts: Iterable[Tree], tenant_id: int) -> Sql:
    pieces = [_where(part, tenant_id) for part in parts]
    return f"({operator.join(sql for sql, _ in pieces)})", tuple(value for _, params in pieces for value in params)


def _either(parts: tuple[Tree, ...], tenant_id: int) -> Sql:
    """Return an OR; rows of narrow tables are united first, for PostgreSQL does not join what stands under an OR."""
    if not any(type(part) in NARROW for part in parts) or not all(
        type(part) in NARROW or _by_rid(part) for part in parts
    ):
        return _joined(" or ", parts, tenant_id)
    pieces = [NARROW[type(p)](p, tenant_id) if type(p) in NARROW else _rids(p, tenant_id) for p in parts]
    united = " union all ".join(sql for sql, _ in pieces)
    values = tuple(value for _, params in pieces for value in params)
    return f"exists (select from ({united}) found where found.rid = resource.rid)", values


def _by_rid(tree: Tree) -> bool:
    return isinstance(tree, AllKeys | AnyKey | OfPatient)


def _rids(tree: Tree, tenant_id: int) -> Sql:
    sql, params = COLUMN[type(tree)](tree)
    return f"select rid from resource where tenant_id = %s and {sql}", (tenant_id, *params)  # noqa: S608


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


COLUMN: dict[type, Callable[[Any], Sql]] = {
    Everything: lambda leaf: ("true", ()),
    Nothing: lambda leaf: ("false", ()),
    AllKeys: lambda leaf: ("resource.keys @> %s::bigint[]", (list(leaf.keys),)),
    AnyKey: lambda leaf: ("resource.keys && %s::bigint[]", (list(leaf.keys),)),
    IdIn: lambda leaf: ("resource.id = any(%s::text[])", (list(leaf.ids),)),
    OfPatient: lambda leaf: ("resource.patient = %s", (leaf.self_key,)),
    Updated: _updated,
}


# ---- leaves that narrow tables answer: each a SELECT of rids ------------------------------------------------------


def _string(leaf: StringStarts, tenant_id: int) -> Sql:
    sql = "select s.rid from idx_string s where s.tenant_id = %s and s.param = %s and s.value >= %s"
    end = after(leaf.value)
    if end is None:
        return sql, (tenant_id, leaf.param, leaf.value)
    return f"{sql} and s.value < %s", (tenant_id, leaf.param, leaf.value, end)


# By prefix: the condition on the start alone, the rest, and the bound below which the start of a short interval cannot
# lie. `a` and `b` are the bounds of the search, `a-` and `b-` the same less the longest that a short interval can be.
_DATES: dict[Prefix, tuple[str, ...]] = {
    "eq": ("lo >= a", "lo <= b", "hi <= b"),
    "gt": ("lo >= b-", "hi > b"),
    "lt": ("lo < a",),
    "sa": ("lo >= b",),
    "eb": ("lo <= a", "hi <= a"),
    "ap": ("lo >= a-", "lo < b", "hi > a"),
}
# What is one thing or another, in parts that cannot both hold.
_EITHER: dict[Prefix, tuple[tuple[str, ...], ...]] = {
    "ne": (("lo < a",), ("lo >= a", "hi > b")),
    "ge": (("lo >= b-", "hi > b"), ("lo >= a", "lo <= b", "hi <= b")),
    "le": (("lo < a",), ("lo >= a", "lo <= b", "hi <= b")),
}


def _date(leaf: DateMatch, tenant_id: int) -> Sql:
    """Return the rids of short and of long intervals, both with the start bounded where the comparison allows it."""
    pieces = []
    for terms in _EITHER.get(leaf.prefix) or (_DATES[leaf.prefix],):
        pieces.append(_dates(leaf, tenant_id, leaf.param, terms))
        # A long interval may start any time before, and is never contained in a short one.
        reaching = tuple(term for term in terms if not term.endswith("-"))
        if not ("hi <= b" in terms and "lo >= a" in terms and leaf.high - leaf.low <= LONGEST):
            pieces.append(_dates(leaf, tenant_id, leaf.long_param, reaching))
    return " union all ".join(sql for sql, _ in pieces), tuple(value for _, params in pieces for value in params)


def _dates(leaf: DateMatch, tenant_id: int, param: int, terms: tuple[str, ...]) -> Sql:
    conditions, values = [], []
    for term in terms:
        column, operator, bound = term.split()
        value = leaf.low if bound.startswith("a") else leaf.high
        conditions.append(f" and d.{column} {operator} %s")
        values.append(max(value, BEGINNING + LONGEST) - LONGEST if bound.endswith("-") else value)
    sql = f"select d.rid from idx_date d where d.tenant_id = %s and d.param = %s{''.join(conditions)}"  # noqa: S608
    return sql, (tenant_id, param, *values)


_NUMBERS: dict[Prefix, tuple[str, ...]] = {
    "eq": ("lo >= low", "lo < high", "hi < high"),
    "gt": ("hi > exact",),
    "lt": ("lo < exact",),
    "ge": ("hi >= exact",),
    "le": ("lo <= exact",),
    "sa": ("lo > exact",),
    "eb": ("hi < exact",),
    "ap": ("lo <= high", "hi >= low"),
}


def _number(leaf: NumberMatch, tenant_id: int) -> Sql:
    sql = "select n.rid from idx_number n where n.tenant_id = %s and n.param = %s"
    if leaf.prefix == "ne":
        return f"{sql} and (n.lo < %s or n.hi >= %s)", (tenant_id, leaf.param, leaf.low, leaf.high)
    terms = [term.split() for term in _NUMBERS[leaf.prefix]]
    conditions = "".join(f" and n.{column} {operator} %s" for column, operator, _ in terms)
    return sql + conditions, (tenant_id, leaf.param, *(getattr(leaf, bound) for _, _, bound in terms))


NARROW: dict[type, Callable[[Any, int], Sql]] = {
    StringStarts: _string,
    DateMatch: _date,
    NumberMatch: _number,
}
