"""The one ASGI application of an HTTP process: FHIR requests go straight to their door, all others to FastAPI."""

from __future__ import annotations

import msgspec

from fhir_server import logs
from fhir_server.errors import Busy, TooMany
from fhir_server.http import wire
from fhir_server.http.binary import BinaryDoor
from fhir_server.http.cors import Cors, is_asked
from fhir_server.http.fhir import FhirDoor
from fhir_server.http.gate import Gate
from fhir_server.http.watched import Watched
from fhir_server.http.wire import Receive, Scope, Send
from fhir_server.interactions.message import Response


class Front:
    """Chooses the door by the second segment of the path, before any framework looks at the request.

    Who sends more than the gate lets in, and FHIR requests beyond `most` at one time, are turned away; the operator's
    pages answer all the same.
    """

    def __init__(self, gate: Gate, cors: Cors, door: FhirDoor, binaries: BinaryDoor, pages: Watched, most: int) -> None:
        self._gate = gate
        self._cors = cors
        self._door = door
        self._binaries = binaries
        self._pages = pages
        self._most = most
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or take part in start-up and shut-down."""
        if scope["type"] != "http":
            await self._pages(scope, receive, send)
            return
        try:
            where = self._gate.knock(scope)
        except TooMany as problem:
            send = self._gate.watched("", {"raw_path": b""}, send)
            await _answered(scope, send, _turned_away(scope["raw_path"], problem))
            return
        send = self._gate.watched(where, scope, send)
        if is_asked(scope):
            await self._cors.answer(scope, receive, send, self._let_in)
        else:
            await self._let_in(scope, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _door_of(scope["raw_path"]) == b"fhir":
            await self._at_the_door(scope, receive, send)
        else:
            await self._pages(scope, receive, send)

    async def _at_the_door(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._under_way >= self._most:
            await _answered(scope, send, wire.failure(Busy(f"{self._under_way} requests are under way: try again")))
            return
        self._under_way += 1
        try:
            await (self._binaries if _is_binary(scope["raw_path"]) else self._door)(scope, receive, send)
        finally:
            self._under_way -= 1


async def _answered(scope: Scope, send: Send, response: Response) -> None:
    await wire.send_response(send, response, logs.request_id(None), head=scope["method"] == "HEAD")


def _turned_away(path: bytes, problem: TooMany) -> Response:
    """Return a refusal in the words of the door that was knocked at."""
    response = wire.failure(problem)
    if _door_of(path) != b"oauth":
        return response
    told = {"error": "temporarily_unavailable", "error_description": str(problem)}
    headers = {**response.headers, "content-type": "application/json", "cache-control": "no-store"}
    return Response(response.status, msgspec.json.encode(told), headers)


def _door_of(path: bytes) -> bytes:
    parts = path.split(b"/", 3)
    return parts[2] if len(parts) > 2 and parts[0] == b"" else b""


def _is_binary(path: bytes) -> bool:
    rest = path.split(b"/", 3)
    return len(rest) == 4 and (rest[3] == b"Binary" or rest[3].startswith(b"Binary/"))
