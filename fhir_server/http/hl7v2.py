"""HL7 v2 over HTTP, POST /{tenant}/api/hl7v2: one message in, its acknowledgement out.

https://hapifhir.github.io/hapi-hl7v2/hapi-hl7overhttp/specification.html (content types, and a status for each MSA-1)
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
from fastapi import APIRouter, Request, Response

from adapters.contract import Peer
from fhir_server.context import Context, Tenant
from fhir_server.errors import Busy, TimedOut, TooLarge, UnsupportedMedia
from fhir_server.http import wire
from fhir_server.http.wire import Scope
from fhir_server.smart.acts import require_message_sender
from mappings.charset import codec_for
from mappings.header import header
from mappings.hl7v2 import decode

ContextOf = Callable[[Request, str], Awaitable[Context]]
Take = Callable[[Tenant, AsyncIterator[bytes], Peer], Awaitable[bytes | None]]
KINDS = ("application/hl7-v2", "application/hl7-v2+er7", "x-application/hl7-v2+er7")
_BEGINNING = 8192  # the MSH is in it
_STATUS = {"AA": 200, "CA": 200, "AR": 400, "CR": 400, "AE": 500, "CE": 500}


class Bounds(msgspec.Struct, frozen=True):
    """Most bytes of a message, seconds for it to come, and most messages under way in one process."""

    size: int
    seconds: float
    most: int


def routes(take: Take, context_of: ContextOf, address_of: Callable[[Scope], str], bounds: Bounds) -> APIRouter:
    """Return the route; `take` makes a message durable and returns its acknowledgement, if its sender wants one."""
    router = APIRouter(prefix="/{tenant}/api", tags=["clinic"])
    under_way = asyncio.Semaphore(bounds.most)

    @router.post("/hl7v2", response_class=Response, responses={200: {"content": {KINDS[0]: {}}}})
    async def message(request: Request, tenant: str) -> Response:
        """Take an HL7 v2 message: AA or CA with 200, AR or CR with 400, AE or CE with 500."""
        # Who asks is known before a byte of the body is read.
        ctx = await context_of(request, tenant)
        require_message_sender(ctx.grant)
        _require_kind(request)
        if under_way.locked():
            raise Busy(f"{bounds.most} messages are under way: try again")
        async with under_way:
            peer = Peer(address_of(request.scope) or "unknown", 0, client=ctx.grant.client)
            try:
                return _answered(await take(ctx.tenant, _pieces(request, bounds), peer))
            except wire.Disconnected:
                return Response(status_code=400)

    return router


def _require_kind(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in KINDS:
        raise UnsupportedMedia(f"send the message as it is, with Content-Type: {KINDS[0]}")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia("send the message as it is, without Content-Encoding")


def _require_one_charset(request: Request, data: bytes) -> None:
    """Refuse bytes of which Content-Type and MSH-18 say different things: one of them would be believed wrongly."""
    _, _, said = request.headers.get("content-type", "").lower().partition("charset=")
    said = said.partition(";")[0].strip(' "')
    if not said or data.isascii():
        return
    declared = header(data).charset
    try:
        agree = codecs.lookup(said).name == codecs.lookup(codec_for(declared.split("~")[0]) or declared or "utf-8").name
    except LookupError:
        agree = False
    if not agree:
        raise UnsupportedMedia(f"Content-Type says {said[:40]} and MSH-18 says {declared[:40] or 'nothing'}")


async def _pieces(request: Request, bounds: Bounds) -> AsyncIterator[bytes]:
    """Yield the body: first its beginning, of which the character set is known, and then the rest as it comes."""
    beginning = b""
    async for piece in _body(request, bounds):
        if len(beginning) >= _BEGINNING:
            if not piece.isascii():
                _require_one_charset(request, beginning + piece)
            yield piece
            continue
        beginning += piece
        if len(beginning) >= _BEGINNING:
            _require_one_charset(request, beginning)
            yield beginning
    if len(beginning) < _BEGINNING:
        _require_one_charset(request, beginning)
        yield beginning


async def _body(request: Request, bounds: Bounds) -> AsyncIterator[bytes]:
    """Yield the body as it comes; raise TooLarge, TimedOut or Disconnected."""
    declared = request.headers.get("content-length", "0")
    size = int(declared) if declared.isascii() and declared.isdigit() else 0
    end, more = asyncio.get_running_loop().time() + bounds.seconds, True
    if size > bounds.size:
        raise TooLarge(f"the message has {size} bytes; this server takes {bounds.size}")
    size = 0
    while more:
        try:
            async with asyncio.timeout_at(end):
                event = await request.receive()
        except TimeoutError:
            raise TimedOut(f"the message did not come within {bounds.seconds:g} s") from None
        if event["type"] == "http.disconnect":
            raise wire.Disconnected
        piece, more = event.get("body", b""), event.get("more_body", False)
        size += len(piece)
        if size > bounds.size:
            raise TooLarge(f"the message is larger than the {bounds.size} bytes that this server takes")
        yield piece


def _answered(answer: bytes | None) -> Response:
    if answer is None:
        # MSH-15 and MSH-16 ask for none; it is stored all the same.
        return Response(status_code=204)
    text, head = decode(answer).text, header(answer)
    mark = f"\rMSA{head.delimiters.field}"
    code = text.partition(mark)[2][:2]
    return Response(answer, _STATUS.get(code, 500), media_type=f"{KINDS[0]}; charset={_iana(head.codec)}")


def _iana(codec: str) -> str:
    """Return the name by which HTTP knows a character set.

    >>> [_iana(name) for name in ("ascii", "utf-8", "latin-1", "cp1252", "utf-16-le")]
    ['us-ascii', 'utf-8', 'iso-8859-1', 'windows-1252', 'utf-16-le']
    """
    name = codecs.lookup(codec).name
    if name == "ascii":
        return "us-ascii"
    return name.replace("iso8859-", "iso-8859-").replace("cp125", "windows-125")
