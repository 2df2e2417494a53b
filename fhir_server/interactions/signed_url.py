"""DocumentReference/[id]/$signed-url: an address for one document that a browser can open without a token, for a while.

The address is sealed: it names tenant, document and the grant of whoever asked for it. When it is used, that grant must
still stand and must still see the document, as if it asked again; http/documents.py answers it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Protocol

import msgspec

from conformance.issue import error
from conformance.references import literal
from fhir_server.context import Context, Grant, Note
from fhir_server.errors import Forbidden, Invalid, NotFound, Unprocessable
from fhir_server.interactions import binary
from fhir_server.interactions.body import instant
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.parameters import Given, positive
from fhir_server.interactions.read import stored
from fhir_server.interactions.service import Service

DEFINITION = "urn:concord:OperationDefinition:DocumentReference-signed-url"
_TYPE = "DocumentReference"
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class Signed(msgspec.Struct, frozen=True, array_like=True):
    """What an address stands for: an attachment of a document, by its number from 1, and for whom until when."""

    document: str
    attachment: int
    expires: float
    grant: Grant


class Content(Protocol):
    """Gives the bytes of a document from `start` up to `end`."""

    def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """Return the bytes in pieces."""


class Document(msgspec.Struct, frozen=True):
    """An attachment: its media type, a name to save it under, its size and how to read it."""

    kind: str
    name: str
    size: int
    content: Content


class _Inline(msgspec.Struct, frozen=True):
    data: bytes

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        yield self.data[start:end]


async def signed_url(service: Service, ctx: Context, request: Request) -> Response:
    """Return the address of an attachment, good for `seconds`, at most and if not said CONCORD_SIGNED_URL_SECONDS."""
    given = Given(request, ("attachment", "seconds"))
    number = given.one("attachment", positive) or 1
    most = service.limits.signed_url_seconds
    seconds = given.one("seconds", positive) or most
    if seconds > most:
        raise Invalid(f"seconds={seconds} cannot be used: {most} is the most", "http.seconds")
    if ctx.grant.purpose is not None:
        raise Forbidden("who works in an emergency or for support reads documents, and hands out no addresses of them")
    found = await document(service, ctx, request.path[1], number)
    expires = ctx.now + timedelta(seconds=seconds)
    grant = msgspec.structs.replace(ctx.grant, member=None, consents=True)
    sealed = service.seal.close(Signed(request.path[1], number, expires.timestamp(), grant), _bound(ctx.tenant.id))
    ctx.trail[-1] = _noted("$signed-url", ctx.trail[-1])
    told = [
        {"name": "url", "valueUrl": f"{ctx.base.removesuffix('/fhir')}/documents/{sealed}"},
        {"name": "expires", "valueInstant": instant(expires)},
        {"name": "contentType", "valueCode": found.kind},
    ]
    return Response(200, msgspec.json.encode({"resourceType": "Parameters", "parameter": told}))


def opened(service: Service, tenant_id: int, text: str) -> Signed:
    """Return what an address of a tenant stands for; raise NotFound for one that was not made here for it."""
    signed = service.seal.open(text, _bound(tenant_id), Signed)
    if signed is None or signed.grant.tenant.id != tenant_id:
        raise NotFound("nothing answers at this address")
    return signed


async def used(service: Service, ctx: Context, signed: Signed) -> Document:
    """Return the document of an address, for the grant as it stands now. Raises Forbidden, NotFound, Gone."""
    if signed.expires <= ctx.now.timestamp():
        raise Forbidden("this address is no longer good: ask for another")
    found = await document(service, ctx, signed.document, signed.attachment)
    ctx.trail[-1] = _noted("document", ctx.trail[-1])
    return found


async def document(service: Service, ctx: Context, resource_id: str, number: int) -> Document:
    """Return an attachment that the grant may see: the document and, where that holds it, the Binary."""
    inside = Request("GET", (_TYPE, resource_id), peer=ctx.peer)
    body = _decoder.decode((await stored(service, ctx, inside)).body)
    note = ctx.trail[-1]
    attachments = [one.get("attachment", {}) for one in body.get("content", ())]
    if number > len(attachments):
        raise NotFound(f"{_TYPE}/{resource_id} has {len(attachments)} attachments")
    found = await _content(service, ctx, attachments[number - 1], resource_id)
    # One document was seen: of the Binary that holds it nothing more is told.
    ctx.trail[ctx.trail.index(note) :] = [note]
    return found


async def _content(service: Service, ctx: Context, attachment: Any, name: str) -> Document:
    kind = attachment.get("contentType", "application/octet-stream")
    if "data" in attachment:
        try:
            data = base64.b64decode(attachment["data"])
        except binascii.Error as problem:
            raise Unprocessable([error("invalid", "the attachment is no base64")]) from problem
        return Document(kind, name, len(data), _Inline(data))
    place = literal(attachment.get("url", ""))
    if place is None or place.type != "Binary" or place.base not in ("", ctx.base):
        told = "the document is not stored here: its attachment names another place"
        raise Unprocessable([error("not-supported", told)])
    request = Request("GET", ("Binary", place.id), peer=ctx.peer)
    found = await binary.read(service, ctx, request)
    return Document(found.headers["content-type"], name, found.size, found.content)


def _noted(action: str, note: Note) -> Note:
    return msgspec.structs.replace(note, action=action)


def _bound(tenant_id: int) -> tuple[str, int]:
    return "document", tenant_id
