"""Who asks: a bearer token, or a person whose browser is signed in. Both become the same Context.

A session alone proves nothing about who wrote a request: one that changes something also carries x-csrf-token.
"""

from __future__ import annotations

import msgspec
from fastapi import Request

from fhir_server import logs
from fhir_server.clock import in_milliseconds
from fhir_server.context import Context, Grant, Member, Tenant, fhir_base
from fhir_server.errors import Forbidden, NotFound, Unauthorized
from fhir_server.http.fhir import FhirDoor
from fhir_server.http.watched import CONTEXT
from fhir_server.smart.scopes import parse_scopes
from fhir_server.smart.sessions import Sessions, SignInNeeded, is_whole
from fhir_server.smart.told import CLIENT
from fhir_server.store import people
from fhir_server.store.sessions import Session

_READS = ("GET", "HEAD", "OPTIONS")
_SCOPES = "user/*.cruds"


class Who(msgspec.Struct, frozen=True):
    """Turns requests into the people and grants behind them."""

    sessions: Sessions
    door: FhirDoor

    async def session(self, request: Request) -> Session | None:
        """Return the session of a browser that is signed in with all its factors, or None."""
        found = await self.sessions.current(request.cookies, self.door.clock())
        return found if is_whole(found) else None

    async def signed_in(self, request: Request, target: str | None = None) -> Session:
        """Return the session, or send the browser to sign in and then to `target`, this request's own address."""
        found = await self.session(request)
        if found is None:
            query = request.url.query
            raise SignInNeeded(target or request.url.path + (f"?{query}" if query else ""))
        return found

    def is_fresh(self, session: Session) -> bool:
        """Tell whether the person gave their factors a moment ago."""
        return self.sessions.is_fresh(session, self.door.clock())

    async def context(self, request: Request, tenant_name: str) -> Context:
        """Return the context of a request to /{tenant}/api or a page of the clinic.

        Raises NotFound for an unknown clinic, Unauthorized for nobody, Forbidden for a person without a role there.
        """
        proved: Context | None = getattr(request.state, CONTEXT, None)
        found = proved or await self._context(request, tenant_name)
        # The audit of the request tells who asked.
        setattr(request.state, CONTEXT, found)
        return found

    async def proved(self, request: Request, tenant_name: str) -> None:
        """Raise Unauthorized, or Forbidden, where the head of a request does not prove who asks."""
        if "authorization" in request.headers:
            await self.context(request, tenant_name)
            return
        session = await self.session(request)
        if session is None:
            raise Unauthorized("send Authorization: Bearer <token>, or sign in")
        self._require_ours(request, session)

    async def _context(self, request: Request, tenant_name: str) -> Context:
        request_id = logs.request_id(request.headers.get("x-request-id"))
        if "authorization" in request.headers:
            return await self.door.context(request.headers["authorization"], tenant_name, request_id)
        session = await self.session(request)
        if session is None:
            raise Unauthorized("send Authorization: Bearer <token>, or sign in")
        self._require_ours(request, session)
        tenant = await self.tenant(tenant_name)
        grant = await self.grant(session, tenant)
        now = in_milliseconds(self.door.clock())
        self.door.gate.require(grant, now.timestamp())
        peer = self.door.gate.peers.address(request.scope) or None
        return Context(grant, fhir_base(self.door.base_url, tenant), now, request_id, peer)

    async def person(self, request: Request, tenant_name: str) -> tuple[Session, Tenant]:
        """Return who is signed in, and the clinic of a request that only a person may make; raise as `context`."""
        session = await self.session(request)
        if session is None:
            raise Unauthorized("sign in: this is for a person, not for an app")
        self._require_ours(request, session)
        return session, await self.tenant(tenant_name)

    async def grant(self, session: Session, tenant: Tenant) -> Grant:
        """Return what a signed-in person may do in a clinic, as of now. Raises Forbidden without a role there.

        A super admin is one here too; what they then see is for the policy to say.
        """
        found = await people.membership(self.sessions.db, tenant.id, session.person)
        if found is None and not session.super_admin:
            raise Forbidden("you have no role in this clinic")
        member = Member(session.person, *(found or ("super-admin", None)))
        return Grant(tenant, session.sub, CLIENT, parse_scopes(_SCOPES), member=member, jti=session.hash.hex()[:32])

    async def tenant(self, name: str) -> Tenant:
        """Return the clinic of this name; raise NotFound."""
        found = await self.door.tenant_of(name)
        if found is None:
            raise NotFound(f"there is no tenant {name[:80]!r} here")
        return found

    def _require_ours(self, request: Request, session: Session) -> None:
        if not self.sessions.is_our_origin(request.headers.get("origin")):
            raise Forbidden("a page of another site may not ask in your name")
        if request.method in _READS:
            return
        if not self.sessions.is_ours(request.headers.get("x-csrf-token", ""), session):
            raise Forbidden("x-csrf-token is missing or not this session's")
