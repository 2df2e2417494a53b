"""Binary by its own rules: bytes in, bytes out. http://hl7.org/fhir/R4/binary.html"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import msgspec

from conformance.references import literal
from fhir_server.context import Context
from fhir_server.errors import Invalid
from fhir_server.interactions import answer
from fhir_server.interactions.body import members_of, text_member
from fhir_server.interactions.content import content_of, inline, named
from fhir_server.interactions.create import create_of
from fhir_server.interactions.draft import Save
from fhir_server.interactions.guard import Guard
from fhir_server.interactions.history import stored_version
from fhir_server.interactions.message import Request, Response, require_id
from fhir_server.interactions.read import stored
from fhir_server.interactions.service import Service
from fhir_server.interactions.update import update_of
from fhir_server.interactions.write import commit

_encode = msgspec.json.encode
_OCTETS = "application/octet-stream"
# What may stand in a header; a code of FHIR's may hold more.
_FIT = re.compile(r"[!-~]+( [!-~]+)*\Z")
# What a browser shows without running anything of it. All else, PDF too, is offered for saving.
_SHOWN = re.compile(r"(image/(png|jpeg|gif|webp|bmp|tiff)|audio/[\w.+-]+|video/[\w.+-]+|text/plain)\s*(;|\Z)", re.I)


class Reader(msgspec.Struct, frozen=True):
    """Reads the content from `start` up to `end`."""

    service: Service
    tenant_id: int
    body: bytes

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """Return the bytes in pieces."""
        content = content_of(self.body)
        if content is None:
            yield inline(self.body)[start:end]
            return
        async for piece in self.service.objects.stream(self.tenant_id, content, start, end):
            yield piece


class Bytes(msgspec.Struct, frozen=True):
    """The content of one version: status and headers of the answer, its size, and how to read a part of it."""

    status: int
    headers: dict[str, str]
    size: int
    content: Reader


async def write(service: Service, ctx: Context, request: Request, chunks: AsyncIterator[bytes]) -> Response:
    """Store a content under a new id (POST) or that of the address (PUT), with the Content-Type that it came with."""
    resource_id = request.path[1] if len(request.path) == 2 else None
    if resource_id is not None:
        require_id(resource_id, "Binary")
    # Nobody sends a film to learn at its end that it may not be written.
    Guard(service, ctx).scopes([Save(type="Binary", action="create" if request.method == "POST" else "update")])
    context = request.headers.get("x-security-context", "").strip()
    if context and literal(context) is None:
        raise Invalid(f"{context[:80]!r} is not a reference such as Patient/1", "http.X-Security-Context")
    kept = await service.objects.keep(ctx.tenant.id, chunks, ctx.now)
    parts = [
        b'"resourceType":"Binary"',
        *([b'"id":' + _encode(resource_id)] if resource_id else []),
        b'"contentType":' + _encode(request.headers.get("content-type", "").strip() or _OCTETS),
        *([b'"securityContext":' + _encode({"reference": context})] if context else []),
        b'"_data":' + named(kept),
    ]
    inside = msgspec.structs.replace(request, body=b"{" + b",".join(parts) + b"}")
    save = create_of(inside) if request.method == "POST" else update_of(service, inside)
    (result,) = await commit(service, ctx, [save])
    return answer.saved(ctx, request, result)


async def read(service: Service, ctx: Context, request: Request) -> Bytes:
    """Return the content of the current version, or of one that the address names; raise as read and vread do."""
    for name, _ in request.query:
        if name != "_pretty":
            raise Invalid(f"{name[:80]} has no meaning for the content of a Binary", f"http.{name[:80]}")
    plain = msgspec.structs.replace(request, query=())
    found = await (stored if len(request.path) == 2 else stored_version)(service, ctx, plain)
    if found.status != 200:
        return Bytes(found.status, dict(found.headers), 0, Reader(service, ctx.tenant.id, b""))
    kind = text_member(members_of(found.body), "contentType") or ""
    if not _FIT.match(kind):
        kind = _OCTETS
    content = content_of(found.body)
    shown = "inline" if _SHOWN.match(kind) else f'attachment; filename="{request.path[1]}"'
    headers = {
        **found.headers,
        "content-type": kind,
        "content-disposition": shown,
        "content-security-policy": "sandbox; default-src 'none'",
        "accept-ranges": "bytes",
    }
    size = content.size if content else len(inline(found.body))
    return Bytes(200, headers, size, Reader(service, ctx.tenant.id, found.body))
