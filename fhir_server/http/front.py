"""The one ASGI application of an HTTP process: FHIR requests go straight to their door, all others to FastAPI."""

from __future__ import annotations

from fastapi import FastAPI

from fhir_server.http.fhir import FhirDoor
from fhir_server.http.wire import Receive, Scope, Send


class Front:
    """Chooses the door by the second segment of the path, before any framework looks at the request."""

    def __init__(self, door: FhirDoor, pages: FastAPI) -> None:
        self._door = door
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or take part in start-up and shut-down."""
        if scope["type"] == "http" and _is_fhir(scope["raw_path"]):
            await self._door(scope, receive, send)
        else:
            await self._pages(scope, receive, send)


def _is_fhir(path: bytes) -> bool:
    parts = path.split(b"/", 3)
    return len(parts) > 2 and parts[2] == b"fhir" and parts[0] == b""
