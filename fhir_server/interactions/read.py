"""read: the current version of one resource. http://hl7.org/fhir/R4/http.html#read"""

from __future__ import annotations

import msgspec

from conformance.r4.types import TYPE_CODES
from fhir_server.context import Context, Note
from fhir_server.errors import Gone, NotFound
from fhir_server.interactions import answer
from fhir_server.interactions.content import whole
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.service import Service
from fhir_server.interactions.subset import asked, cut
from fhir_server.search.plan import condition
from fhir_server.search.tree import Everything
from fhir_server.smart.masking import masked
from fhir_server.smart.policy import visible
from fhir_server.store import resources
from fhir_server.store.resources import Current


async def read(service: Service, ctx: Context, request: Request) -> Response:
    """Return the resource; raise NotFound where it is absent or not visible, Gone where it was deleted."""
    found = await stored(service, ctx, request)
    return await with_content(service, ctx, found) if request.path[0] == "Binary" else found


async def with_content(service: Service, ctx: Context, found: Response) -> Response:
    """Return a Binary with its content as base64."""
    return msgspec.structs.replace(found, body=await whole(service, ctx, found.body)) if found.body else found


async def stored(service: Service, ctx: Context, request: Request) -> Response:
    """Return the resource as it is stored: of a Binary, without its content."""
    resource_type, resource_id = request.path
    row = await find(service, ctx, resource_type, resource_id)
    if row.body is None:
        raise Gone(f"{resource_type}/{resource_id} was deleted")
    body = cut(resource_type, masked(ctx, resource_type, row.body), asked(request.query, (resource_type,)))
    shown = answer.fresh(request, body, row.version, row.updated)
    ctx.trail.append(Note("read", shown.status, row.type, row.id, row.version, row.patient))
    return shown


async def find(service: Service, ctx: Context, resource_type: str, resource_id: str, letter: str = "r") -> Current:
    """Return the row of a resource that this grant may see, deleted or not; raise NotFound otherwise."""
    code = TYPE_CODES[resource_type]
    tree = visible(ctx, service.rules, resource_type, letter)
    if isinstance(tree, Everything):
        row = await service.loader.read(ctx.tenant.id, code, resource_id)
    else:
        where, params = condition(tree, ctx.tenant.id)
        row = await resources.read(service.db, ctx.tenant.id, code, resource_id, where, params)
    if row is None:
        raise NotFound(f"{resource_type}/{resource_id} is not known")
    return row
