"""One registry, hasher and indexer for the tests of search, and a search evaluated in memory by the definition.

http://hl7.org/fhir/R4/search.html
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from conformance.search_params import Registry
from conformance.structures import decode
from fhir_server.limits import Limits
from fhir_server.search.hashing import Hasher
from fhir_server.search.kinds import Entries, Indexer
from fhir_server.search.request import SearchRequest, parse
from fhir_server.search.text import CUT
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
    Present,
    StringContains,
    StringIs,
    StringStarts,
    Tree,
    Updated,
)

TENANT = 7
BASE = "https://clinic.example/demo/fhir"
NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)


@cache
def registry() -> Registry:
    """Return the parameters of R4."""
    return Registry.r4()


@cache
def hasher() -> Hasher:
    """Return a hasher with a secret of the tests."""
    return Hasher(b"a secret of the tests")


@cache
def indexer() -> Indexer:
    """Return the indexer of R4's parameters."""
    return Indexer(registry(), hasher())


def index(resource: dict[str, Any], *, tenant: int = TENANT, id_: str = "1") -> Entries:
    """Return the entries of a resource given as plain data."""
    kind = resource["resourceType"]
    return indexer().entries(tenant, BASE, kind, id_, decode(kind, msgspec.json.encode(resource)))


def search(resource_type: str, *params: tuple[str, str], tenant: int = TENANT, **more: Any) -> SearchRequest:
    """Return the request that parameters make."""
    given = {"registry": registry(), "hasher": hasher(), "limits": Limits(max_page=100), "now": NOW, **more}
    return parse(resource_type, params, tenant_id=tenant, base=BASE, **given)


def finds(resource: dict[str, Any], *params: tuple[str, str], id_: str = "1") -> bool:
    """Tell whether a search finds a resource of its type."""
    request = search(resource["resourceType"], *params)
    return holds(request.tree, index(resource, id_=id_), id_=id_)


def compares(prefix: str, lo: Any, hi: Any, low: Any, high: Any) -> bool:
    """Tell whether a resource's [lo, hi) compares with a search's [low, high), as R4's table of prefixes has it."""
    contained = low <= lo and hi <= high
    match prefix:
        case "eq":
            return contained
        case "ne":
            return not contained
        case "gt":
            return hi > high
        case "lt":
            return lo < low
        case "ge":
            return hi > high or contained
        case "le":
            return lo < low or contained
        case "sa":
            return lo >= high
        case "eb":
            return hi <= low
        case "ap":
            return lo < high and hi > low
    raise AssertionError(prefix)


def holds(tree: Tree, entries: Entries, *, id_: str = "1", updated: datetime = NOW) -> bool:
    """Tell whether a row with these entries meets the tree."""
    match tree:
        case And(parts):
            return all(holds(part, entries, id_=id_, updated=updated) for part in parts)
        case Or(parts):
            return any(holds(part, entries, id_=id_, updated=updated) for part in parts)
        case Not(part):
            return not holds(part, entries, id_=id_, updated=updated)
        case IdIn(ids):
            return id_ in ids
        case Updated(prefix, low, high):
            return _moment(prefix, updated, low, high)
    return _entry(tree, entries)


def _moment(prefix: str, moment: datetime, low: datetime, high: datetime) -> bool:
    """Compare a moment, a point, with [low, high)."""
    return {
        "eq": low <= moment < high,
        "ne": not low <= moment < high,
        "gt": moment >= high,
        "lt": moment < low,
        "ge": moment >= low,
        "le": moment < high,
        "sa": moment >= high,
        "eb": moment < low,
        "ap": low <= moment < high,
    }[prefix]


def _entry(tree: Tree, entries: Entries) -> bool:
    match tree:
        case Everything():
            return True
        case Nothing():
            return False
        case AllKeys(keys):
            return set(keys) <= set(entries.keys)
        case AnyKey(keys):
            return bool(set(keys) & set(entries.keys))
        case OfPatient(self_key):
            return entries.patient == self_key
        case StringStarts(param, value):
            return any(number == param and text.startswith(value) for number, text in entries.strings)
        case StringIs(param, value):
            return (param, value) in entries.strings
        case StringContains(param, value):
            return any(number == param and value in text.split(CUT)[0] for number, text in entries.strings)
        case Present(_, params):
            rows: list[tuple[Any, ...]] = [*entries.dates, *entries.strings, *entries.numbers]
            return any(row[0] in params for row in rows)
        case DateMatch():
            ours = [(lo, hi) for number, lo, hi in entries.dates if number in (tree.param, tree.long_param)]
            return any(compares(tree.prefix, lo, hi, tree.low, tree.high) for lo, hi in ours)
        case NumberMatch():
            return any(_number(tree, lo, hi) for number, lo, hi in entries.numbers if number == tree.param)
    raise AssertionError(tree)


def _number(tree: NumberMatch, lo: float, hi: float) -> bool:
    within = tree.low <= lo and hi < tree.high
    return {
        "eq": within,
        "ne": not within,
        "gt": hi > tree.exact,
        "lt": lo < tree.exact,
        "ge": hi >= tree.exact,
        "le": lo <= tree.exact,
        "sa": lo > tree.exact,
        "eb": hi < tree.exact,
        "ap": lo <= tree.high and hi >= tree.low,
    }[tree.prefix]
