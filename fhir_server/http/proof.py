"""Who asks the clinic's API is known by the head of the request: nothing of a body is read, let alone parsed, before.

CVE-2023-43208: an engine whose API made objects of what came before it asked who sent it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request

from fhir_server import logs
from fhir_server.errors import FhirError
from fhir_server.http import wire
from fhir_server.http.wire import Receive, Scope, Send

# Raises where a request's head does not prove who asks at a tenant.
Proved = Callable[[Request, str], Awaitable[None]]
_BODILESS = ("GET", "HEAD", "OPTIONS")


class Proof:
    """Stands around the framework, which reads the body before it asks what a route depends on."""

    def __init__(self, app: Any, proved: Proved) -> None:
        self._app, self._proved = app, proved

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = wire.segments(scope["raw_path"])[1:] if scope["type"] == "http" else ()
        try:
            if path[1:2] == ("api",) and scope["method"] not in _BODILESS:
                await self._proved(Request(scope), path[0])
        except FhirError as problem:
            await wire.send_response(send, wire.failure(problem), logs.request_id(None))
        else:
            await self._app(scope, receive, send)
