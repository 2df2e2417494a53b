"""The door of Binaries as bytes: streamed in and out, and never whole in memory. http://hl7.org/fhir/R4/binary.html

What speaks FHIR, by Content-Type or Accept, goes on to the FHIR door.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, MutableMapping
from typing import Any

import msgspec
import structlog

from fhir_server import logs
from fhir_server.errors import FhirError, TimedOut, TooLarge, UnsupportedMedia
from fhir_server.http import wire
from fhir_server.http.bounds import require_address
from fhir_server.http.fhir import FhirDoor
from fhir_server.http.formats import media
from fhir_server.http.wire import Receive, Scope, Send
from fhir_server.interactions import binary
from fhir_server.interactions.binary import Bytes
from fhir_server.interactions.message import FHIR_JSON, Request, Response

_log = structlog.get_logger()
_FHIR = frozenset(
    (
        "application/fhir+json",
        "application/fhir+xml",
        "application/fhir+ndjson",
        "application/json+fhir",
        "application/xml+fhir",
    )
)
# FHIR, or a document that a Binary holds: the body tells; of an Accept, whether it takes nothing else.
_EITHER = frozenset(("application/json", "text/json", "application/xml", "text/xml", ""))
_JSON = re.compile(rb'"resourceType"\s*:\s*"Binary"')
_XML = re.compile(rb"<Binary\b[^>]*http://hl7\.org/fhir")
# A resource says what it is near its start, as far as a broken one can be told at all.
_START = 1024
_outer = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z", re.ASCII)
_ALWAYS = (("cache-control", "private, no-cache"), ("x-content-type-options", "nosniff"), ("vary", "accept"))
_SHAPING = frozenset(("_format", "_summary", "_elements"))


class BinaryDoor(msgspec.Struct, frozen=True):
    """Answers /{tenant}/fhir/Binary… where bytes are meant; `max_bytes` is the largest content."""

    door: FhirDoor
    max_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on with what was read of it."""
        headers = wire.headers_of(scope)
        answer = _Answer(send, logs.request_id(headers.get("x-request-id")), head=scope["method"] == "HEAD")
        try:
            require_address(scope, self.door.bounds.address)
            whole = wire.head_of(scope, self.door.gate.peers.address(scope) or None)
            path = whole.path
            inside = msgspec.structs.replace(whole, path=path[2:])
            if _asks_for_bytes(inside):
                await self._read(path[0], inside, answer)
            elif (whole.method, len(inside.path)) in (("POST", 1), ("PUT", 2)) and _kind(whole) not in _FHIR:
                body = Body(inside, receive, self.max_bytes, self.door.bounds.seconds)
                if _kind(whole) in _EITHER and await body.is_resource(self.door.bounds.body):
                    await self.door(scope, body.again, send)
                else:
                    await self._write(path[0], inside, body, answer)
            else:
                await self.door(scope, receive, send)
        except wire.Disconnected:
            return
        except FhirError as problem:
            await answer.failed(wire.failure(problem), problem)
        except Exception as problem:
            await answer.failed(wire.broken(answer.request_id), problem)

    async def _write(self, tenant: str, request: Request, body: Body, answer: _Answer) -> None:
        async with self.door.entered(tenant, request, answer.request_id) as ctx:
            if request.headers.get("content-encoding", "identity") != "identity":
                raise UnsupportedMedia("send the content of a Binary as it is, without Content-Encoding")
            response = await binary.write(self.door.service, ctx, request, body.chunks())
        await answer.whole(response)

    async def _read(self, tenant: str, request: Request, answer: _Answer) -> None:
        async with self.door.entered(tenant, request, answer.request_id) as ctx:
            found = await binary.read(self.door.service, ctx, request)
        status, start, end, headers = _part(request.headers, found)
        await answer.begin(status, headers, end - start)
        if request.method == "GET" and start < end:
            async for piece in found.content.read(start, end):
                await answer.send({"type": "http.response.body", "body": piece, "more_body": True})
        await answer.send({"type": "http.response.body", "body": b""})


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _asks_for_bytes(request: Request) -> bool:
    """Tell whether a read asks for the content as it is: it does unless it names a format of FHIR's or a subset."""
    path = request.path
    if request.method not in ("GET", "HEAD") or not (len(path) == 2 or (len(path) == 4 and path[2] == "_history")):
        return False
    if path[1].startswith(("_", "$")) or any(name in _SHAPING for name, _ in request.query):
        return False
    kinds = [media(item) for item in request.headers.get("accept", "*/*").split(",")]
    liked = max((kind.quality for kind in kinds if kind.type in _FHIR), default=0.0)
    others = [kind for kind in kinds if kind.type not in _FHIR]
    if not liked:
        return not all(kind.type in _EITHER - {""} for kind in others)
    return max((kind.quality for kind in others), default=0.0) > liked


class Body:
    """The body of a request, read as it comes; raises TooLarge above `most` bytes, TimedOut where none come."""

    def __init__(self, request: Request, receive: Receive, most: int, patience: float) -> None:
        self._request, self._receive, self._most, self._patience = request, receive, most, patience
        self._read: list[bytes] = []
        self._size = 0
        self._ended = self._told = False

    async def is_resource(self, most: int) -> bool:
        """Tell whether the body is a Binary resource rather than a document; up to `most` bytes are held for that."""
        if "content-encoding" in self._request.headers:
            # Documents come as they are.
            return True
        while not self._ended and self._size <= most:
            self._read.append(await self._next())
        return self._ended and _is_resource(b"".join(self._read))

    async def again(self) -> MutableMapping[str, Any]:
        """Receive what was read, once more, and then what comes after it."""
        if self._told or not self._read:
            return await self._receive()
        self._told = True
        whole, self._read = b"".join(self._read), []
        return {"type": "http.request", "body": whole, "more_body": False}

    async def chunks(self) -> AsyncIterator[bytes]:
        """Return the body in pieces."""
        declared = self._request.headers.get("content-length", "0")
        if declared.isascii() and declared.isdigit() and int(declared) > self._most:
            raise TooLarge(f"the content has {int(declared)} bytes; this server takes {self._most}")
        for piece in self._read:
            yield piece
        while not self._ended:
            piece = await self._next()
            if self._size > self._most:
                raise TooLarge(f"the content is larger than the {self._most} bytes that this server takes")
            yield piece

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout(self._patience):
                event = await self._receive()
        except TimeoutError:
            raise TimedOut(f"nothing more of the content came within {self._patience:g} s") from None
        if event["type"] == "http.disconnect":
            raise wire.Disconnected
        piece: bytes = event.get("body", b"")
        self._size += len(piece)
        self._ended = not event.get("more_body")
        return piece


def _is_resource(body: bytes) -> bool:
    """Tell whether JSON or XML is a Binary resource, or was meant to be one and is told what is wrong with it."""
    try:
        return bytes(_outer.decode(body).get("resourceType", b"")) == b'"Binary"'
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        start = body.lstrip()[:_START]
        return bool((_JSON if start[:1] == b"{" else _XML).search(start))


class _Answer:
    """An answer on its way; once it has begun, a failure can only break it off."""

    def __init__(self, send: Send, request_id: str, *, head: bool) -> None:
        self.send, self.request_id = send, request_id
        self._head, self._begun = head, False

    async def begin(self, status: int, headers: Mapping[str, str], size: int) -> None:
        """Send status and headers."""
        lines = [*headers.items(), *_ALWAYS, ("content-length", str(size)), ("x-request-id", self.request_id)]
        self._begun = True
        encoded = [(k.encode("latin-1"), v.encode("latin-1", "replace")) for k, v in lines]
        await self.send({"type": "http.response.start", "status": status, "headers": encoded})

    async def whole(self, response: Response) -> None:
        """Send a response of FHIR's own."""
        kind = {"content-type": FHIR_JSON} if response.body else {}
        await self.begin(response.status, {**kind, **response.headers}, len(response.body))
        await self.send({"type": "http.response.body", "body": b"" if self._head else response.body})

    async def failed(self, response: Response, problem: Exception) -> None:
        """Tell of a failure; an answer that has begun is left unfinished, which ends the connection."""
        if response.status == 500 or self._begun:
            _log.error("request failed", request_id=self.request_id, exc_info=problem)
        if not self._begun:
            await self.whole(response)


def _part(headers: Mapping[str, str], found: Bytes) -> tuple[int, int, int, Mapping[str, str]]:
    """Return status, start, end and headers of what is asked for: https://www.rfc-editor.org/rfc/rfc9110#name-range

    Several ranges, and ranges on a condition that only a strong ETag could meet, are answered by the whole.
    """
    asked = _RANGE.match(headers.get("range", "")) if "if-range" not in headers else None
    if found.status != 200 or asked is None or asked[0] == "bytes=-":
        return found.status, 0, found.size, found.headers
    first, last = asked.groups()
    start = int(first) if first else max(found.size - int(last), 0)
    end = min(int(last) + 1, found.size) if first and last else found.size
    if start >= found.size:
        return 416, 0, 0, {**found.headers, "content-range": f"bytes */{found.size}"}
    if end <= start:
        return found.status, 0, found.size, found.headers
    return 206, start, end, {**found.headers, "content-range": f"bytes {start}-{end - 1}/{found.size}"}
