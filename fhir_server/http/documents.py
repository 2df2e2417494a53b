"""/{tenant}/documents/[address]: a document for whoever holds an address that $signed-url made for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from fhir_server import logs
from fhir_server.clock import in_milliseconds
from fhir_server.context import fhir_base
from fhir_server.errors import Forbidden, NotFound
from fhir_server.http.fhir import FhirDoor
from fhir_server.interactions import message, signed_url
from fhir_server.interactions.signed_url import Document
from fhir_server.interactions.trail import Audit

# Saved and never shown: what it holds must not run where people are signed in.
_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
    "referrer-policy": "no-referrer",
}


def routes(door: FhirDoor) -> APIRouter:
    """Return the route."""
    router = APIRouter(include_in_schema=False)

    @router.get("/{tenant}/documents/{address}")
    async def document(tenant: str, address: str, request: Request) -> StreamingResponse:
        """Return the document, if whoever the address was made for may still see it."""
        found = await _found(door, tenant, address, request)
        headers = {
            **_HEADERS,
            "content-length": str(found.size),
            "content-disposition": f'attachment; filename="{found.name}"',
        }
        return StreamingResponse(_pieces(found), headers=headers, media_type=found.kind)

    return router


async def _found(door: FhirDoor, name: str, address: str, request: Request) -> Document:
    tenant = await door.tenant_of(name)
    if tenant is None:
        raise NotFound(f"there is no tenant {name[:80]!r}")
    signed = signed_url.opened(door.service, tenant.id, address)
    # The address itself is a key: what is audited is the document that it opens.
    inside = message.Request(
        "GET", ("DocumentReference", signed.document), peer=door.gate.peers.address(request.scope) or None
    )
    now = door.clock()
    request_id = logs.request_id(request.headers.get("x-request-id"))
    async with Audit(door.service, tenant, inside, in_milliseconds(now), request_id) as audit:
        if signed.grant.tenant.name != tenant.name:
            raise Forbidden("this address belongs to another tenant")
        grant = await door.verifier.still(signed.grant, now)
        return await signed_url.used(door.service, audit.of(grant, fhir_base(door.base_url, tenant)), signed)


async def _pieces(found: Document) -> AsyncIterator[bytes]:
    async for piece in found.content.read(0, found.size):
        yield piece
