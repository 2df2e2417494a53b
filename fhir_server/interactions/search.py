"""search-type: rows of one type that a query finds and the grant may see. http://hl7.org/fhir/R4/search.html"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

import msgspec

from conformance.issue import outcome, warning
from fhir_server.context import Context
from fhir_server.errors import UnsupportedMedia
from fhir_server.interactions.bundle import Link, bundle, entry, link
from fhir_server.interactions.include import Row, included
from fhir_server.interactions.message import Request, Response, preference
from fhir_server.interactions.resolve import resolved
from fhir_server.interactions.service import Service
from fhir_server.search import plan
from fhir_server.search.request import SearchRequest, parse
from fhir_server.search.tree import Tree
from fhir_server.smart.policy import visible
from fhir_server.store.wire import Rows

_FORM = "application/x-www-form-urlencoded"


async def search(service: Service, ctx: Context, request: Request) -> Response:
    """Return the searchset bundle of a GET; raise Invalid naming a parameter that cannot be used."""
    return await _searched(service, ctx, request, request.path[0], request.query)


async def post_search(service: Service, ctx: Context, request: Request) -> Response:
    """Return the searchset bundle of POST _search: parameters come in the form as well as in the address."""
    kind = request.headers.get("content-type", _FORM).partition(";")[0].strip().lower()
    if kind != _FORM:
        raise UnsupportedMedia(f"_search takes {_FORM}, not {kind[:80]}")
    form = parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
    return await _searched(service, ctx, request, request.path[0], [*request.query, *form])


async def _searched(
    service: Service, ctx: Context, request: Request, resource_type: str, query: Sequence[tuple[str, str]]
) -> Response:
    restrict = visible(ctx.grant, service.hasher, resource_type, "s")
    asked = _asked(service, ctx, request, resource_type, query)
    asked = msgspec.structs.replace(asked, tree=await resolved(service, ctx, asked.tree))
    total = await _total(service, ctx, asked, restrict) if asked.total != "none" else None
    rows = await _rows(service, ctx, asked, restrict) if asked.count else []
    page = rows[: asked.count]
    address = f"{ctx.base}/{resource_type}"
    links: list[Link] = [link("self", address, asked.applied)]
    if len(rows) > asked.count:
        cursor = service.pager.sign(asked, ctx.tenant.id, ctx.grant.subject, page[-1])
        links.append(link("next", address, [*asked.applied, ("_cursor", cursor)]))
    entries = [entry(f"{address}/{row[1]}", row[4], mode="match") for row in page]
    matches = [Row(resource_type, row[0], row[1], row[4]) for row in page]
    entries += await included(service, ctx, asked.includes, matches)
    return Response(200, bundle("searchset", [*entries, *_left_out(asked)], links, ctx.now, total))


def _asked(
    service: Service, ctx: Context, request: Request, resource_type: str, query: Sequence[tuple[str, str]]
) -> SearchRequest:
    handling = preference(request, "handling")
    asked = parse(
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
    return service.pager.resume(asked, ctx.tenant.id, ctx.grant.subject)


async def _rows(service: Service, ctx: Context, asked: SearchRequest, restrict: Tree) -> Rows:
    """Return one row more than the page has, where there is one: that tells of a next page."""
    statement = plan.select(asked, ctx.tenant.id, restrict)
    return await service.db.fetch(ctx.tenant.id, statement.sql, statement.params, custom_plan=True)


async def _total(service: Service, ctx: Context, asked: SearchRequest, restrict: Tree) -> int:
    """Return how many rows match, counted: an estimate may be no worse than that."""
    statement = plan.count(asked, ctx.tenant.id, restrict)
    rows = await service.db.fetch(ctx.tenant.id, statement.sql, statement.params, custom_plan=True)
    return int(rows[0][0])


def _left_out(asked: SearchRequest) -> list[bytes]:
    """Return the entry that tells a lenient client which parameters had no part in the answer."""
    if not asked.ignored:
        return []
    issues = [
        warning("not-supported", f"{name} is not known and was left out", f"http.{name}") for name in asked.ignored
    ]
    return [entry(None, outcome(issues), mode="outcome")]
