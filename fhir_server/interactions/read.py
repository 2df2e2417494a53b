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
from fhir_server.interactions.trail import row_of
from fhir_server.search.plan import condition
from fhir_server.search.tree import Everything
from fhir_server.smart.masking import masked
from fhir_server.smart.policy import visible
from fhir_server.store import resources
from fhir_server.store.recorder import Row
from fhir_server.store.resources import Current


async def read(service: Service, ctx: Context, request: Request) -> Response:
    """Return the resource; raise NotFound where it is absent or not visible, Gone where it was deleted."""
    if request.path[0] == "Binary":
        return await with_content(service, ctx, await stored(service, ctx, request))
    return await stored(service, ctx, request, at_once=ctx.alone and not answer.is_conditional(request))


async def with_content(service: Service, ctx: Context, found: Response) -> Response:
    """Return a Binary with its content as base64."""
    return msgspec.structs.replace(found, body=await whole(service, ctx, found.body)) if found.body else found


async def stored(service: Service, ctx: Context, request: Request, *, at_once: bool = False) -> Response:
    """Return the resource as it is stored: of a Binary, without its content.

    `at_once` where it is sure to be shown: the statement that reads it adds its row to the audit.
    """
    resource_type, resource_id = request.path
    subset = asked(request.query, (resource_type,))
    row = await find(service, ctx, resource_type, resource_id, told=_told(ctx) if at_once else None)
    if row.body is None:
        raise Gone(f"{resource_type}/{resource_id} was deleted")
    body = cut(resource_type, masked(ctx, resource_type, row.body), subset)
    shown = answer.fresh(request, body, row.version, row.updated)
    ctx.trail.append(Note("read", shown.status, row.type, row.id, row.version, row.patient, kept=at_once))
    return shown


def _told(ctx: Context) -> Row:
    return row_of(ctx.tenant, ctx.now, ctx.request_id, ctx.grant, ctx.peer, Note("read"))


async def find(
    service: Service, ctx: Context, resource_type: str, resource_id: str, letter: str = "r", *, told: Row | None = None
) -> Current:
    """Return the row of a resource that this grant may see, deleted or not; raise NotFound otherwise.

    `told` is committed to the audit with it, unless it is deleted.
    """
    code = TYPE_CODES[resource_type]
    tree = visible(ctx, service.rules, resource_type, letter)
    if isinstance(tree, Everything):
        row = await service.loader.read(ctx.tenant.id, code, resource_id, told)
    else:
        where, params = condition(tree, ctx.tenant.id)
        row = await resources.shown(service.db, ctx.tenant.id, code, resource_id, told, where, params)
    if row is None:
        raise NotFound(f"{resource_type}/{resource_id} is not known")
    return row
