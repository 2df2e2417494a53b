"""search: rows of one type, of several, or of a compartment, that a query finds and the grant may see.

http://hl7.org/fhir/R4/search.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

import msgspec

from conformance.issue import outcome, warning
from conformance.r4 import facts
from conformance.r4.types import CODE_TYPES
from conformance.structures import STORABLE
from fhir_server.context import Context
from fhir_server.errors import Forbidden, Invalid, TooLarge, UnsupportedMedia
from fhir_server.interactions import subset, totals, trail
from fhir_server.interactions.bundle import Link, bundle, entry, link
from fhir_server.interactions.include import Row, included
from fhir_server.interactions.message import Request, Response, preference, require_id
from fhir_server.interactions.resolve import resolved
from fhir_server.interactions.service import Service
from fhir_server.interactions.sorting import sorted_rows
from fhir_server.interactions.subset import cut
from fhir_server.search import across, plan, sort_values
from fhir_server.search.across import Part
from fhir_server.search.plan import Statement
from fhir_server.search.request import SearchRequest, parse
from fhir_server.search.sort import shown as shown_as
from fhir_server.search.tree import AllKeys, IdIn, Tree, all_of, any_of
from fhir_server.smart.masking import masked
from fhir_server.smart.policy import visible
from fhir_server.store.wire import Rows

_FORM = "application/x-www-form-urlencoded"
_TYPE = "_type"
_OF_ITSELF = "{def}"
Query = Sequence[tuple[str, str]]


class Where(msgspec.Struct, frozen=True):
    """Where a search looks: the address after the base, the types, and what each must be beside the query.

    `named` says that the client named the types: one that may not be searched is refused, otherwise left out.
    """

    address: str
    types: Sequence[str]
    within: Mapping[str, Tree] = {}
    named: bool = True


async def search(service: Service, ctx: Context, request: Request) -> Response:
    """Return the searchset bundle of a GET; raise Invalid naming a parameter that cannot be used."""
    return await _searched(service, ctx, request, request.query)


async def post_search(service: Service, ctx: Context, request: Request) -> Response:
    """Return the searchset bundle of POST _search: parameters come in the form as well as in the address."""
    kind = request.headers.get("content-type", _FORM).partition(";")[0].strip().lower()
    if kind != _FORM:
        raise UnsupportedMedia(f"_search takes {_FORM}, not {kind[:80]}")
    if len(request.body) > service.limits.max_form:
        raise TooLarge(f"the form has {len(request.body)} bytes; this server takes {service.limits.max_form}")
    form = parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
    inside = msgspec.structs.replace(request, path=request.path[:-1])
    return await _searched(service, ctx, inside, [*request.query, *form])


def _compartment(service: Service, ctx: Context, path: tuple[str, ...], names: Sequence[str]) -> Where:
    """Return what of a type, or with `*` of these or else all, is in the compartment of a resource."""
    owner, owner_id, member = path
    held = {owner, *facts.compartments()[owner]}
    require_id(owner_id, owner)
    named = names if member == "*" else (member,)
    for name in named:
        if name not in held:
            raise Invalid(f"{name} is not in the compartment of {owner}", *(("http._type",) if names else ()))
    types = named or sorted(held)
    within = {name: _inside(service, ctx, owner, owner_id, name) for name in types}
    return Where("/".join(path), types, within, named=bool(named))


def _inside(service: Service, ctx: Context, owner: str, owner_id: str, member: str) -> Tree:
    """Return what a resource is that a compartment holds: it refers to the owner, or is the owner."""
    hasher, tenant = service.hasher, ctx.tenant.id
    codes = [code for code in facts.compartments()[owner].get(member, ()) if code != _OF_ITSELF]
    trees: list[Tree] = [AllKeys((hasher.reference(tenant, member, code, owner, owner_id),)) for code in codes]
    return any_of([*trees, IdIn((owner_id,))] if member == owner else trees)


async def _searched(service: Service, ctx: Context, request: Request, query: Query) -> Response:
    """Search the type of the address, a compartment, or the types that the query names, or all."""
    names = _names(query) if _of_several(request.path) else ()
    if len(request.path) > 1:
        where = _compartment(service, ctx, request.path, names)
    elif request.path:
        where = Where(request.path[0], request.path)
    elif query:
        where = Where("", names or STORABLE, named=bool(names))
    else:
        raise Invalid("say what to search for, such as ?_type=Patient; GET metadata tells what there is")
    return await _answer(service, ctx, request, where, query)


def _of_several(path: tuple[str, ...]) -> bool:
    """Tell whether an address leaves the types open, so that `_type` may name them."""
    return not path or path[2:] == ("*",)


def _names(query: Query) -> tuple[str, ...]:
    names = [name for key, value in query if key == _TYPE for name in value.split(",")]
    for name in names:
        if name not in STORABLE or name == "AuditEvent":
            told = (
                "is not a resource type that is stored here" if name not in STORABLE else "is searched by itself alone"
            )
            raise Invalid(f"{name[:80]!r} {told}", "http._type")
    return tuple(dict.fromkeys(names))


async def _answer(service: Service, ctx: Context, request: Request, where: Where, query: Query) -> Response:
    parts = await _parts(service, ctx, request, where, query)
    asked = parts[0][0]
    wanted = subset.asked(query, where.types, counts=True)
    if wanted and wanted.summary == "text" and asked.includes:
        raise Invalid("_include and _revinclude cannot be used with _summary=text", "http._summary")
    rows = await _rows(service, ctx, parts) if asked.count else []
    page = rows[: asked.count]
    total = await totals.total(service, ctx, parts, len(rows))
    only = asked.type if len(parts) == 1 else ""
    matches = [Row(CODE_TYPES[row[6]], row[0], row[1], row[4], row[5]) for row in page]
    entries = [
        entry(f"{ctx.base}/{row.type}/{row.id}", cut(row.type, masked(ctx, row.type, row.body), wanted), mode="match")
        for row in matches
    ]
    beside, others = await included(service, ctx, asked.includes, matches, wanted)
    entries += beside
    action = "search-type" if request.path else "search-system"
    trail.found(ctx, request, action, (row.patient for row in [*matches, *others]), only)
    cursor = None
    if len(rows) > asked.count > 0:
        cursor = service.pager.sign(_bound(asked, where), ctx.tenant.id, ctx.grant.subject, page[-1])
    links = _links(f"{ctx.base}/{where.address}".rstrip("/"), asked, total, cursor, request.look)
    said = [*_left_out(asked), *totals.outcomes(total)]
    return Response(200, bundle("searchset", [*entries, *said], links, ctx.now, total.number))


def _links(address: str, asked: SearchRequest, total: totals.Total, cursor: str | None, look: Query) -> list[Link]:
    """Return the links: `self` says what was done, its order and the size of the page also where nobody asked."""
    done = dict(asked.applied)
    shown = list(asked.applied)
    if asked.count:
        shown += [] if "_sort" in done else [("_sort", shown_as(asked.sort))]
        shown += [] if "_count" in done else [("_count", str(asked.count))]
    shown = [(name, total.kind if name == "_total" else value) for name, value in shown]
    here = [("_cursor", asked.cursor)] if asked.cursor else []
    links = [link("self", address, [*shown, *here, *look])]
    if asked.cursor:
        links.append(link("first", address, [*asked.applied, *look]))
    if cursor:
        links.append(link("next", address, [*asked.applied, ("_cursor", cursor), *look]))
    return links


async def _parts(service: Service, ctx: Context, request: Request, where: Where, query: Query) -> list[Part]:
    """Return the search of each type that the grant may search, with its chains looked up."""
    allowed = _allowed(service, ctx, where)
    steering = [(name, value) for name, value in query if name == _TYPE and _of_several(request.path)]
    rest = [pair for pair in query if pair not in steering]
    asked = [understood(service, ctx, request, name, rest) for name in allowed]
    ignored = list(dict.fromkeys(name for one in asked for name in one.ignored))
    if any(one.ignored != ignored for one in asked):
        # What one of the types does not know is left out of all.
        rest = [pair for pair in rest if pair[0] not in ignored]
        asked = [understood(service, ctx, request, name, rest) for name in allowed]
    applied = [*steering, *asked[0].applied]
    bound = _bound(msgspec.structs.replace(asked[0], applied=applied), where)
    after = service.pager.resume(bound, ctx.tenant.id, ctx.grant.subject).after
    parts: list[Part] = []
    for one, restrict in zip(asked, allowed.values(), strict=True):
        tree = all_of((where.within[one.type], one.tree)) if where.within else one.tree
        tree = await resolved(service, ctx, tree)
        whole = msgspec.structs.replace(one, tree=tree, after=after, applied=applied, ignored=ignored)
        parts.append((whole, restrict))
    return parts


def _bound(asked: SearchRequest, where: Where) -> SearchRequest:
    """Return the request as a page token is bound to it: by the address, which names type or compartment."""
    return msgspec.structs.replace(asked, type=where.address)


def _allowed(service: Service, ctx: Context, where: Where) -> dict[str, Tree]:
    """Return what the grant may see by type; raise Forbidden for a type that was named, or where none is left."""
    found: dict[str, Tree] = {}
    refused: Forbidden | None = None
    for name in where.types:
        try:
            found[name] = visible(ctx, service.rules, name, "s")
        except Forbidden as problem:
            if where.named:
                raise
            refused = problem
    if refused and not found:
        raise refused
    return found


def understood(service: Service, ctx: Context, request: Request, resource_type: str, query: Query) -> SearchRequest:
    """Return what a query asks of a type, leniently where the request or the installation prefers so; raise Invalid."""
    handling = preference(request, "handling")
    return parse(
        resource_type,
        query,
        tenant_id=ctx.tenant.id,
        base=ctx.base,
        registry=service.registry,
        hasher=service.hasher,
        limits=service.limits,
        lenient=handling == "lenient" if handling else service.limits.lenient,
        now=ctx.now,
    )


async def _rows(service: Service, ctx: Context, parts: Sequence[Part]) -> Rows:
    """Return one row more than the page has, where there is one: that tells of a next page."""
    tenant = ctx.tenant.id

    async def fetched(made: Statement) -> Rows:
        return await service.db.fetch(tenant, made.sql, made.params, custom_plan=True)

    if sort_values.needed(parts[0][0].sort):
        return await sorted_rows(fetched, parts, tenant, service.limits.max_sorted)
    shares = await service.shares.now()
    if len(parts) == 1:
        return await fetched(plan.select(parts[0][0], tenant, parts[0][1], shares))
    return await fetched(across.select(parts, tenant, shares))


def _left_out(asked: SearchRequest) -> list[bytes]:
    """Return the entry that tells a lenient client which parameters had no part in the answer."""
    if not asked.ignored:
        return []
    issues = [
        warning("not-supported", f"{name} is not known and was left out", f"http.{name}") for name in asked.ignored
    ]
    return [entry(None, outcome(issues), mode="outcome")]
