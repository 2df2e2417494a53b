"""$everything of a Patient or an Encounter: the record, in pages. http://hl7.org/fhir/R4/patient-operation-everything.html

Beside its compartment stand the resources that it refers to by a search parameter: practitioners, organizations,
locations, medications and the like. Those in the compartments of other patients never do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from conformance.r4 import facts
from conformance.r4.types import CODE_TYPES
from conformance.structures import STORABLE
from fhir_server.context import Context
from fhir_server.errors import Forbidden, Gone, Invalid
from fhir_server.interactions import trail
from fhir_server.interactions.bundle import Link, bundle, entry, link
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.parameters import Given, beginning, ending, positive
from fhir_server.interactions.read import find
from fhir_server.interactions.service import Service
from fhir_server.search import everything as pages
from fhir_server.search.date import BEGINNING, FOREVER
from fhir_server.search.everything import START, Compartment, Wanted
from fhir_server.search.include import references
from fhir_server.search.tree import Nothing, Tree, all_of
from fhir_server.smart.masking import masked
from fhir_server.smart.policy import visible

_OF_ITSELF = "{def}"
_MODES = ("match", "include")
_KNOWN = {
    "Patient": ("start", "end", "_since", "_type", "_count", "_cursor"),
    "Encounter": ("_since", "_type", "_count", "_cursor"),
}


async def everything(service: Service, ctx: Context, request: Request) -> Response:
    """Return a page of all that belongs to the owner; raise NotFound or Gone as a read of it does."""
    owner, owner_id = _owner(ctx, request)
    given = Given(request, _KNOWN[owner])
    row = await find(service, ctx, owner, owner_id)
    if row.body is None:
        raise Gone(f"{owner}/{owner_id} was deleted")
    query = [pair for pair in given.pairs if pair[0] != "_cursor"]
    bound = (ctx.tenant.id, ctx.grant.subject, f"{owner}/{owner_id}", [p for p in query if p[0] != "_count"])
    wanted = _wanted(service, given, bound)
    statement = pages.select(_compartment(service, ctx, owner, owner_id), wanted, ctx.tenant.id)
    rows = await service.db.fetch(ctx.tenant.id, statement.sql, statement.params, custom_plan=True)
    page = rows[: wanted.count]
    address = f"{ctx.base}/{owner}/{owner_id}/$everything"
    links: list[Link] = [link("self", address, [*given.pairs, *request.look])]
    if len(rows) > wanted.count:
        cursor = service.seal.close((page[-1][0], page[-1][1]), bound)
        links.append(link("next", address, [*query, ("_cursor", cursor), *request.look]))
    entries = [
        entry(f"{ctx.base}/{CODE_TYPES[kind]}/{name}", masked(ctx, CODE_TYPES[kind], body), mode=_MODES[rank == 2])
        for rank, _, kind, name, body, _ in page
    ]
    trail.found(ctx, request, "$everything", (row[5] for row in page), owner)
    return Response(200, bundle("searchset", entries, links, ctx.now))


def _owner(ctx: Context, request: Request) -> tuple[str, str]:
    """Return type and id of the owner: of the address, or the one patient of the token."""
    if len(request.path) == 3:
        return request.path[0], request.path[1]
    if ctx.grant.patient is None or any(scope.context != "patient" for scope in ctx.grant.scopes):
        raise Invalid("say whose record: Patient/{id}/$everything; without an id it is that of a token's one patient")
    return "Patient", ctx.grant.patient


def _wanted(service: Service, given: Given, bound: object) -> Wanted:
    start, end = given.one("start", beginning), given.one("end", ending)
    cursor = given.one("_cursor", str)
    after = service.seal.open(cursor, bound, tuple[int, int]) if cursor is not None else START
    if after is None:
        raise Invalid("_cursor does not belong to this operation: start again without it", "http._cursor")
    return Wanted(
        count=min(given.one("_count", positive) or service.limits.default_page, service.limits.max_page),
        within=(start or BEGINNING, end or FOREVER) if start or end else None,
        since=given.one("_since", beginning),
        types=given.types(),
        after=after,
    )


def _compartment(service: Service, ctx: Context, owner: str, owner_id: str) -> Compartment:
    hasher, tenant = service.hasher, ctx.tenant.id
    members = facts.compartments()[owner]
    own = hasher.self_key(tenant, owner, owner_id)
    keys = [
        own ^ hasher.salt(tenant, name, code) for name, codes in members.items() for code in codes if code != _OF_ITSELF
    ]
    seen = _allowed(service, ctx, {owner, *members}, "rs", owner)
    # What belongs to patients is a member or is another patient's; an encounter may refer to what is its patient's.
    others = set(STORABLE) - ({"Patient", *members} if owner == "Patient" else set())
    links = [
        (name, hasher.salt(tenant, name, param.code))
        for types in seen.values()
        for name in types
        for param in references(service.registry, name)
        if not others.isdisjoint(param.targets)
    ]
    return Compartment(own, keys, seen, _allowed(service, ctx, others, "r"), links)


def _allowed(
    service: Service, ctx: Context, types: Iterable[str], letters: str, owner: str = ""
) -> Mapping[Tree, list[str]]:
    """Return the types by what the grant may see of them; those that it may not see are left out.

    The owner was read already, so that the right to search is not asked for it.
    """
    found: dict[Tree, list[str]] = {}
    for name in sorted(types):
        asked = "r" if name == owner else letters
        try:
            tree = all_of(visible(ctx, service.rules, name, letter) for letter in asked)
        except Forbidden:
            continue
        if not isinstance(tree, Nothing):
            found.setdefault(tree, []).append(name)
    return found
