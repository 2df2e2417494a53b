"""The clinic's API under audit: each request to /{tenant}/api/… leaves a row before its answer leaves.

Who asks is what `who.py` found out. Changes are audited by themselves as well, in their transactions.
"""

from __future__ import annotations

from typing import Any

from fhir_server import logs
from fhir_server.clock import in_milliseconds
from fhir_server.context import Context, Note, Tenant
from fhir_server.errors import Busy
from fhir_server.http import wire
from fhir_server.http.fhir import FhirDoor
from fhir_server.http.wire import Receive, Scope, Send
from fhir_server.interactions.trail import row_of

# Where a request's context is kept for its audit.
CONTEXT = "context"
_TURNED_AWAY = (429, 503)


class Watched:
    """Stands before the pages: what is not the clinic's API passes."""

    def __init__(self, pages: Any, door: FhirDoor) -> None:
        self._pages, self._door = pages, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = wire.segments(scope["raw_path"])[1:] if scope["type"] == "http" else ()
        tenant = await self._door.tenant_of(path[0]) if path[1:2] == ("api",) else None
        if tenant is None:
            await self._pages(scope, receive, send)
            return
        scope.setdefault("state", {}).pop(CONTEXT, None)
        await self._pages(scope, receive, _Held(self._door, tenant, scope, send))


class _Held:
    """A `send` that lets an answer begin once it is audited; where it cannot be, the answer is another."""

    def __init__(self, door: FhirDoor, tenant: Tenant, scope: Scope, send: Send) -> None:
        self._door, self._tenant, self._scope, self._send = door, tenant, scope, send
        self._refused = False

    async def __call__(self, event: Any) -> None:
        """Send a part of the answer."""
        if event["type"] == "http.response.start" and event["status"] not in _TURNED_AWAY:
            try:
                await self._audited(event["status"])
            except Busy as problem:
                self._refused = True
                head = self._scope["method"] == "HEAD"
                await wire.send_response(self._send, wire.failure(problem), logs.request_id(None), head=head)
        if not self._refused:
            await self._send(event)

    async def _audited(self, status: int) -> None:
        door, scope = self._door, self._scope
        ctx: Context | None = scope["state"].get(CONTEXT)
        request = wire.head_of(scope, door.gate.peers.address(scope) or None)
        text = (request.method.encode() + b" " + request.address)[:8192]
        notes = [*(ctx.trail if ctx else ()), Note("api", status, query=text)]
        now = ctx.now if ctx else in_milliseconds(door.clock())
        request_id = ctx.request_id if ctx else logs.request_id(request.headers.get("x-request-id"))
        grant = ctx.grant if ctx else None
        rows = [row_of(self._tenant, now, request_id, grant, request.peer, note) for note in notes]
        await door.service.recorder.record(rows)
