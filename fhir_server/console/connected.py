"""The pages of what somebody has given to apps, clinic by clinic, and the way from one clinic to another."""

from __future__ import annotations

from datetime import datetime

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from fhir_server.console.authorize import ContextOf, TenantOf
from fhir_server.console.consent import described
from fhir_server.console.desk import Desk
from fhir_server.console.pick import one
from fhir_server.context import Context, Tenant
from fhir_server.interactions.service import Service
from fhir_server.smart.connected import Connected, ConnectedApp
from fhir_server.store import people
from fhir_server.store.sessions import Session


class AppCard(msgspec.Struct, frozen=True):
    """One app as its owner sees it: since and until when it has access, to whose records, and what it may do."""

    client_id: str
    name: str
    since: datetime
    until: str
    patients: tuple[str, ...]
    lines: tuple[str, ...]


class Shelf(msgspec.Struct, frozen=True):
    """The pages, on what they ask."""

    desk: Desk
    connected: Connected
    service: Service
    tenant_of: TenantOf
    context_of: ContextOf

    async def show(self, request: Request, tenant: str) -> Response:
        """Show which apps have access in the name of who is signed in."""
        found = await self.tenant_of(tenant)
        return await self._shown(request, await self.desk.signed_in(request), found)

    async def end(self, request: Request, tenant: str) -> Response:
        """Take back what an app was given."""
        found = await self.tenant_of(tenant)
        session = await self.desk.signed_in(request)
        client_id = (await self.desk.form(request, session)).get("client", "")
        if not await self.connected.end(found, session.person, session.sub, client_id):
            raise await self.desk.refused(request, "You have given this application no access here.", 404)
        return await self._shown(request, session, found, "Its access has ended.")

    async def _shown(self, request: Request, session: Session, tenant: Tenant, told: str = "") -> Response:
        ctx = await self.context_of(session, tenant)
        cards = [await self._card(ctx, app) for app in await self.connected.of(tenant, session.person)]
        clinics = [one.tenant.name for one in await people.memberships(self.connected.db, session.person)]
        return await self.desk.page(
            request, "connected.html", session, clinic=tenant.name, clinics=clinics, apps=cards, told=told,
            action=request.url.path,
        )  # fmt: skip

    async def _card(self, ctx: Context, app: ConnectedApp) -> AppCard:
        ids = dict.fromkeys(given.patient for given in app.given if given.patient)
        rows = [await one(self.service, ctx, "Patient", id_) for id_ in ids]
        names = tuple(row.name if row else "somebody whom you may not see" for row in rows)
        return AppCard(
            app.client_id, app.name, min(given.created for given in app.given), _until(app), names,
            tuple(described(app.scope)),
        )  # fmt: skip


def routes(shelf: Shelf) -> APIRouter:
    """Return the routes."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/{tenant}/apps", shelf.show, methods=["GET"])
    router.add_api_route("/{tenant}/apps", shelf.end, methods=["POST"])
    return router


def _until(app: ConnectedApp) -> str:
    ends = max((given.expires for given in app.given if given.expires), default=None)
    if ends is None:
        return "you take it back"
    at = ends.strftime("%Y-%m-%d %H:%M UTC")
    return f"{at}; each use prolongs it" if app.lasting else at
