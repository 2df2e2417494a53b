"""history-instance and vread: the versions of one resource. http://hl7.org/fhir/R4/http.html#history"""

from __future__ import annotations

from fhir_server.context import Context
from fhir_server.errors import Gone, Invalid, NotFound
from fhir_server.interactions import answer
from fhir_server.interactions.body import instant
from fhir_server.interactions.bundle import Link, bundle, entry, link
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.read import find
from fhir_server.interactions.service import Service
from fhir_server.store import history as versions
from fhir_server.store.history import Version

_METHOD = {True: ("DELETE", "204"), False: ("PUT", "200")}


async def vread(service: Service, ctx: Context, request: Request) -> Response:
    """Return one version; raise Gone for one that was the deletion."""
    resource_type, resource_id, _, wanted = request.path
    row = await find(service, ctx, resource_type, resource_id)
    number = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 10 else 0
    if not 1 <= number <= row.version:
        raise NotFound(f"{resource_type}/{resource_id} has no version {wanted[:20]}")
    version = await versions.version(service.db, ctx.tenant.id, row, number)
    if version is None:
        raise NotFound(f"{resource_type}/{resource_id} has no version {wanted[:20]}")
    if version.body is None:
        raise Gone(f"version {wanted} of {resource_type}/{resource_id} is its deletion")
    return answer.resource(version.body, version.version, version.updated)


async def history(service: Service, ctx: Context, request: Request) -> Response:
    """Return the versions of one resource, the newest first, deletions as entries, in pages."""
    resource_type, resource_id, _ = request.path
    row = await find(service, ctx, resource_type, resource_id)
    count, before = _asked(service, request)
    found = await versions.instance(service.db, ctx.tenant.id, row, count + 1, before)
    page, more = found[:count], len(found) > count
    address = f"{ctx.base}/{resource_type}/{resource_id}"
    links: list[Link] = [link("self", f"{address}/_history", request.query)]
    if more:
        links.append(link("next", f"{address}/_history", [("_count", str(count)), ("_before", str(page[-1].version))]))
    return Response(200, bundle("history", [_entry(address, v) for v in page], links, ctx.now, total=row.version))


def _asked(service: Service, request: Request) -> tuple[int, int | None]:
    count, before = service.limits.default_page, None
    for name, value in request.query:
        if name not in ("_count", "_before", "_format", "_pretty"):
            raise Invalid(f"history takes _count, not {name}")
        if name in ("_count", "_before"):
            if not (value.isascii() and value.isdigit() and len(value) < 10):
                raise Invalid(f"{name} must be a whole number, not {value[:40]!r}")
            count, before = (int(value), before) if name == "_count" else (count, int(value))
    return max(1, min(count, service.limits.max_page)), before


def _entry(address: str, version: Version) -> bytes:
    method, status = _METHOD[version.body is None]
    if version.version == 1:
        method, status = "POST", "201"
    place = address.rsplit("/", 2)
    return entry(
        address,
        version.body,
        request=(method, place[1] if method == "POST" else f"{place[1]}/{place[2]}"),
        response=(status, f'W/"{version.version}"', instant(version.updated)),
    )
