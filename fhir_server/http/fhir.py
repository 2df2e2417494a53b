"""The FHIR door: /{tenant}/fhir/… as a plain ASGI application, since a framework's routing costs more than a read.

http://hl7.org/fhir/R4/http.html
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import msgspec
import structlog

from fhir_server import logs
from fhir_server.clock import in_milliseconds
from fhir_server.context import Context, Grant, Tenant, fhir_base
from fhir_server.errors import FhirError, NotFound, TimedOut, Unauthorized
from fhir_server.http import render, wire
from fhir_server.http.bounds import Bounds, Patience, require_address, require_depth
from fhir_server.http.formats import View, viewed, viewed_form
from fhir_server.http.gate import Gate
from fhir_server.http.shown import shown
from fhir_server.http.wire import Receive, Scope, Send
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.service import Service
from fhir_server.interactions.table import dispatch
from fhir_server.interactions.trail import Audit
from fhir_server.smart.tokens import Verifier

_log = structlog.get_logger()
TenantOf = Callable[[str], Awaitable[Tenant | None]]
_WELL_KNOWN = ".well-known"
Open = Callable[[str], bytes]


class FhirDoor(msgspec.Struct, frozen=True):
    """Everything the door needs; `open_pages` answers without a token, by the path after the base."""

    service: Service
    verifier: Verifier
    tenant_of: TenantOf
    base_url: str
    clock: Callable[[], datetime]
    bounds: Bounds
    pack_from: int
    gate: Gate
    open_pages: dict[tuple[str, ...], Callable[[Tenant, str, Request], Awaitable[Response]]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong becomes an OperationOutcome."""
        request_id = logs.request_id(_offered(scope))
        view = View()
        try:
            require_address(scope, self.bounds.address)
            request = wire.head_of(scope, self.gate.peers.address(scope) or None)
            # What is published for apps is JSON, whatever they accept.
            if request.path[2:3] != (_WELL_KNOWN,):
                request, view = viewed(request)
            request, view = await self._whole(scope, receive, request, view)
            with Patience(receive, self.bounds.seconds):
                response = await self._answer(request, request_id, view)
        except wire.Disconnected:
            return
        except FhirError as problem:
            response = wire.failure(problem)
        except Exception as problem:
            response = _broken(problem, request_id)
        response = await self._shown(response, view, request_id)
        await wire.send_response(send, response, request_id, head=scope["method"] == "HEAD")

    async def _shown(self, response: Response, view: View, request_id: str) -> Response:
        try:
            return await render.rendered(response, view, self.pack_from)
        except Exception as problem:
            return _broken(problem, request_id)

    async def _whole(self, scope: Scope, receive: Receive, request: Request, view: View) -> tuple[Request, View]:
        """Return the request with its body; the form of a search may say how the answer is to look."""
        if request.method in ("GET", "HEAD"):
            return request, view
        whole = msgspec.structs.replace(request, body=await self._body(scope, receive))
        if request.path[-1:] != ("_search",):
            return whole, view
        whole = await render.plain(whole, self.bounds.body)
        return viewed_form(whole, view) if len(whole.body) <= self.service.limits.max_form else (whole, view)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """Return the body; raise TooLarge for a long one, TimedOut where it does not come in time."""
        try:
            async with asyncio.timeout(self.bounds.seconds):
                return await wire.body_of(scope, receive, self.bounds.body)
        except TimeoutError:
            raise TimedOut(f"the body did not come within {self.bounds.seconds:g} s") from None

    async def _answer(self, request: Request, request_id: str, view: View) -> Response:
        tenant = await self._tenant(request.path[0])
        base = self._base(tenant)
        inside = msgspec.structs.replace(request, path=request.path[2:])
        page = self.open_pages.get(inside.path)
        if page and request.method in ("GET", "HEAD"):
            return await render.rendered(await page(tenant, base, inside), view, self.pack_from, keep=True)
        if inside.path[:1] == (_WELL_KNOWN,):
            raise NotFound("nothing is published at this address")
        async with self._entered(tenant, inside, request_id) as ctx:
            inside = await render.plain(inside, self.bounds.body)
            inside = await render.as_json(inside, self.service.limits.max_entries)
            require_depth(inside.body, self.bounds.depth)
            return await self._dispatched(ctx, inside)

    async def _dispatched(self, ctx: Context, inside: Request) -> Response:
        try:
            return await dispatch(self.service, ctx, inside)
        finally:
            if self.service.db.slow.noted and (noted := self.service.db.slow.take()):
                about = shown(inside, self.service.registry)
                self.service.db.slow.tell(
                    noted, self.service.db.explain, route=about, tenant=ctx.tenant.id, request_id=ctx.request_id
                )

    @asynccontextmanager
    async def entered(self, tenant_name: str, request: Request, request_id: str) -> AsyncIterator[Context]:
        """Give the context of a request that another door answers; at its end the audit is committed.

        Raises NotFound, Unauthorized or Forbidden.
        """
        async with self._entered(await self._tenant(tenant_name), request, request_id) as ctx:
            yield ctx

    @asynccontextmanager
    async def _entered(self, tenant: Tenant, request: Request, request_id: str) -> AsyncIterator[Context]:
        now, base = self.clock(), self._base(tenant)
        async with Audit(self.service, tenant, request, in_milliseconds(now), request_id) as audit:
            grant = await self._grant(request.headers.get("authorization", ""), tenant, base, now)
            yield audit.of(grant, base)

    async def context(self, authorization: str, tenant_name: str, request_id: str) -> Context:
        """Return the context of a request that is answered elsewhere, and audited there.

        Raises NotFound, Unauthorized or Forbidden.
        """
        tenant, now = await self._tenant(tenant_name), self.clock()
        grant = await self._grant(authorization, tenant, self._base(tenant), now)
        return Context(grant, self._base(tenant), in_milliseconds(now), request_id)

    async def _tenant(self, name: str) -> Tenant:
        tenant = await self.tenant_of(name)
        if tenant is None:
            raise NotFound(f"there is no tenant {name[:80]!r} here")
        return tenant

    def _base(self, tenant: Tenant) -> str:
        return fhir_base(self.base_url, tenant)

    async def _grant(self, authorization: str, tenant: Tenant, base: str, now: datetime) -> Grant:
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise Unauthorized("send Authorization: Bearer <token>; concord token makes one")
        grant = await self.verifier.grant(token.strip(), tenant, base, now)
        self.gate.require(grant, now.timestamp())
        return grant


def _broken(problem: Exception, request_id: str) -> Response:
    _log.error("request failed", request_id=request_id, exc_info=problem)
    return wire.broken(request_id)


def _offered(scope: Scope) -> str | None:
    return next((v.decode("latin-1") for k, v in scope["headers"] if k == b"x-request-id"), None)
