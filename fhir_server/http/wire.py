"""Between ASGI and FHIR messages: bodies under a limit, headers, and failures turned into outcomes once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from conformance.issue import Issue, outcome
from fhir_server.errors import Busy, FhirError, NotAllowed, TooLarge, TooMany
from fhir_server.interactions.message import FHIR_JSON, Request, Response

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# Sent with every answer: a record is nobody's to cache, sniff or frame.
_ALWAYS = (
    (b"cache-control", b"private, no-cache"),
    (b"x-content-type-options", b"nosniff"),
    (b"vary", b"accept, accept-encoding"),
)


class Disconnected(Exception):
    """The client left before its request was read; there is nobody to answer."""


async def body_of(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the request body; raise TooLarge above `limit` bytes without reading on."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    declared = next((v for k, v in headers if k == b"content-length"), b"0")
    if declared.isdigit() and int(declared) > limit:
        raise TooLarge(f"the body has {int(declared)} bytes; this server takes {limit}")
    parts: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Disconnected
        part: bytes = event.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLarge(f"the body is larger than the {limit} bytes that this server takes")
        parts.append(part)
        if not event.get("more_body"):
            return b"".join(parts) if len(parts) > 1 else parts[0]


def head_of(scope: Scope, peer: str | None = None) -> Request:
    """Return a request without its body; `peer` is the address that it comes from."""
    path, query = scope["raw_path"], scope.get("query_string", b"")
    address = path + b"?" + query if query else path
    return Request(scope["method"], segments(path)[1:], query_of(scope), headers_of(scope), address=address, peer=peer)


def headers_of(scope: Scope) -> dict[str, str]:
    """Return the headers by lower-case name; of a repeated one the values are joined, as HTTP allows."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1")
        text = value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def segments(path: bytes) -> tuple[str, ...]:
    """Return the decoded segments of a raw path; a slash at the end adds none."""
    return tuple(unquote(part) for part in path.decode("latin-1").rstrip("/").split("/"))


def query_of(scope: Scope) -> list[tuple[str, str]]:
    """Return the query parameters in order."""
    raw: bytes = scope.get("query_string", b"")
    return parse_qsl(raw.decode("latin-1"), keep_blank_values=True) if raw else []


def failure(problem: FhirError) -> Response:
    """Return a failure as status and OperationOutcome."""
    return Response(problem.status, outcome(problem.issues), failure_headers(problem))


def failure_headers(problem: FhirError) -> dict[str, str]:
    """Return the headers that belong to the status of a failure."""
    if isinstance(problem, (Busy, TooMany)):
        return {"retry-after": str(problem.retry_after)}
    if isinstance(problem, NotAllowed) and problem.allowed:
        return {"allow": ", ".join(problem.allowed)}
    return {"www-authenticate": "Bearer"} if problem.status == 401 else {}


def broken(request_id: str) -> Response:
    """Return the answer to a fault of ours: an id to ask about and nothing of the inside."""
    issue = Issue("fatal", "exception", f"something went wrong here; the log has it under request {request_id}")
    return Response(500, outcome([issue]))


async def send_response(send: Send, response: Response, request_id: str, *, head: bool = False) -> None:
    """Send a FHIR response; a body that does not say what it is is FHIR JSON."""
    body = response.body
    headers = _headers(response.headers, body, request_id)
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})


def _headers(given: Mapping[str, str], body: bytes, request_id: str) -> list[tuple[bytes, bytes]]:
    headers = [(k.encode("latin-1"), v.encode("latin-1", "replace")) for k, v in given.items()]
    if body and "content-type" not in given:
        headers.append((b"content-type", FHIR_JSON.encode()))
    headers += _ALWAYS
    headers.append((b"content-length", b"%d" % len(body)))
    headers.append((b"x-request-id", request_id.encode("latin-1", "replace")))
    return headers
