"""The one ASGI application of an HTTP process: FHIR requests go straight to their door, all others to FastAPI."""

from __future__ import annotations

from fastapi import FastAPI

from fhir_server import logs
from fhir_server.errors import Busy
from fhir_server.http import wire
from fhir_server.http.binary import BinaryDoor
from fhir_server.http.fhir import FhirDoor
from fhir_server.http.wire import Receive, Scope, Send


class Front:
    """Chooses the door by the second segment of the path, before any framework looks at the request.

    FHIR requests beyond `most` at one time are turned away; the operator's pages answer all the same.
    """

    def __init__(self, door: FhirDoor, binaries: BinaryDoor, pages: FastAPI, most: int) -> None:
        self._door = door
        self._binaries = binaries
        self._pages = pages
        self._most = most
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or take part in start-up and shut-down."""
        if scope["type"] == "http" and _is_fhir(scope["raw_path"]):
            await self._at_the_door(scope, receive, send)
        else:
            await self._pages(scope, receive, send)

    async def _at_the_door(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._under_way >= self._most:
            response = wire.failure(Busy(f"{self._under_way} requests are under way: try again"))
            await wire.send_response(send, response, logs.request_id(None), head=scope["method"] == "HEAD")
            return
        self._under_way += 1
        try:
            await (self._binaries if _is_binary(scope["raw_path"]) else self._door)(scope, receive, send)
        finally:
            self._under_way -= 1


def _is_fhir(path: bytes) -> bool:
    parts = path.split(b"/", 3)
    return len(parts) > 2 and parts[2] == b"fhir" and parts[0] == b""


def _is_binary(path: bytes) -> bool:
    rest = path.split(b"/", 3)
    return len(rest) == 4 and (rest[3] == b"Binary" or rest[3].startswith(b"Binary/"))
