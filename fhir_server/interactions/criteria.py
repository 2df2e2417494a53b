"""Criteria of conditional interactions and references: which rows a query names, for this very transaction.

http://hl7.org/fhir/R4/http.html#ccreate

Criteria are searched after their locks are held, by the search's own tree and plan and under the same permission. All
criteria of a write are looked up together: those that name one identifier in a single statement, the rest in another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from urllib.parse import urlencode

import msgspec

from fhir_server.context import Context
from fhir_server.errors import Forbidden, Invalid, Precondition
from fhir_server.interactions.service import Service
from fhir_server.search.hashing import Hasher
from fhir_server.search.named import by_key, one_by_one
from fhir_server.search.request import parse
from fhir_server.search.terminology import asked_of_terminology
from fhir_server.search.terms import split, unescape
from fhir_server.search.tree import AllKeys, Everything, Tree
from fhir_server.smart.policy import visible
from fhir_server.store.database import Tx

Query = Sequence[tuple[str, str]]

# What steers the answer of a search has no part in saying which resource is meant.
_STEERING = frozenset(
    ("_sort", "_total", "_summary", "_elements", "_include", "_revinclude", "_contained", "_containedType", "_cursor",
     "_score", "_type")
)  # fmt: skip
# Names the lock that criteria without an identifier take: one for each type.
_ANYTHING = "*"
_IDENTIFIER = "identifier"
# Criteria of other kinds that one statement looks up.
_TOGETHER = 200


class Criteria(msgspec.Struct, frozen=True):
    """A query as it is searched: `restrict` is what may be found, `may` what may be touched, `most` rows at most."""

    type: str
    text: str
    path: str
    tree: Tree
    restrict: Tree
    may: Tree
    most: int
    locks: tuple[int, ...]


class Found(msgspec.Struct, frozen=True):
    """A row that criteria found; `may` tells whether the grant may do with it what is asked."""

    number: int
    id: str
    version: int
    updated: datetime
    self_key: int
    body: bytes
    patient: int | None
    type: int
    may: bool


def criteria_of(
    service: Service, ctx: Context, resource_type: str, query: Query, letter: str, path: str, most: int = 1
) -> Criteria:
    """Return the criteria of a query for the interaction `letter`; raise Invalid for one that names nothing.

    Never lenient: criteria of which a part is left out would mean another resource.
    """
    text = f"{resource_type}?{urlencode(query)}"
    tree = _tree(service, ctx, resource_type, query, path)
    if isinstance(tree, Everything):
        raise Invalid(f"criteria are needed that say which {resource_type} is meant", path)
    restrict = visible(ctx, service.rules, resource_type, "s")
    may = visible(ctx, service.rules, resource_type, letter)
    locks = tuple(_locks(service.hasher, ctx.tenant.id, resource_type, query))
    return Criteria(resource_type, text, path, tree, restrict, may, most, locks)


def _tree(service: Service, ctx: Context, resource_type: str, query: Query, path: str) -> Tree:
    for name, _ in query:
        if name.partition(":")[0] in _STEERING:
            raise Invalid(f"{name[:100]} cannot stand in criteria: they only say which resource is meant", path)
        if "." in name or name.startswith(("_has", "_list")):
            # What a chain leads to is locked by nobody, so nothing could be said of it in time.
            raise Invalid(f"{name[:100]} cannot stand in criteria: they take no chains", path)
    try:
        tree = parse(
            resource_type,
            [(name, value) for name, value in query if name != "_count"],
            tenant_id=ctx.tenant.id,
            base=ctx.base,
            registry=service.registry,
            hasher=service.hasher,
            limits=service.limits,
            now=ctx.now,
        ).tree
    except Invalid as problem:
        raise Invalid([msgspec.structs.replace(issue, expression=(path,)) for issue in problem.issues]) from problem
    for name in asked_of_terminology(tree):
        raise Invalid(f"{name} cannot stand in criteria: what a value set holds may change meanwhile", path)
    return tree


def identifier_lock(hasher: Hasher, tenant_id: int, resource_type: str, value: str) -> int:
    """Return the key that whoever writes or asks for this identifier locks, whatever its system."""
    return hasher.token(tenant_id, resource_type, _IDENTIFIER, None, value)


def _locks(hasher: Hasher, tenant_id: int, resource_type: str, query: Query) -> Iterator[int]:
    """Return the locks of criteria: their identifiers, which every writer locks, or else one for the type."""
    named = [value for name, value in query if name == _IDENTIFIER]
    codes = [unescape(split(text, "|")[-1]) for value in named for text in split(value, ",")]
    if codes and all(codes):
        yield from (identifier_lock(hasher, tenant_id, resource_type, code) for code in codes)
    else:
        yield hasher.salt(tenant_id, resource_type, _ANYTHING)


async def find(tx: Tx, tenant_id: int, asked: Sequence[Criteria]) -> list[list[Found]]:
    """Return what each of the criteria finds, at most `most` + 1 rows, in a handful of statements for any number."""
    found: list[list[Found]] = [[] for _ in asked]
    by_grant: dict[tuple[Tree, Tree], list[tuple[int, Criteria]]] = {}
    others: list[tuple[int, Criteria]] = []
    for number, one in enumerate(asked):
        if isinstance(one.tree, AllKeys) and len(one.tree.keys) == 1:
            by_grant.setdefault((one.restrict, one.may), []).append((number, one))
        else:
            others.append((number, one))
    for group in by_grant.values():
        for row in await tx.fetch(*by_key(tenant_id, group)):
            found[row[0]].append(Found(*row))
    for first in range(0, len(others), _TOGETHER):
        for row in await tx.fetch(*one_by_one(tenant_id, others[first : first + _TOGETHER])):
            found[row[0]].append(Found(*row))
    return found


def only(one: Criteria, found: Sequence[Found]) -> Found | None:
    """Return the one row that the criteria found, or None; raise Precondition for several, Forbidden for another's."""
    if len(found) > 1:
        raise Precondition(f"{one.text[:200]} finds several resources: criteria must find one", one.path)
    return touchable(one, found)[0] if found else None


def touchable(one: Criteria, found: Sequence[Found]) -> Sequence[Found]:
    """Return what was found; raise Forbidden where the grant may see a row but not do this with it."""
    if not all(row.may for row in found):
        raise Forbidden(f"this token may not change what {one.text[:200]} finds", one.path)
    return found
