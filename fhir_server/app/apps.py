"""The pages around apps, wired: consent, pickers, connected apps."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter

from fhir_server import logs
from fhir_server.app.authorization import authorization_of
from fhir_server.app.concord import Concord
from fhir_server.clock import in_milliseconds
from fhir_server.console import authorize, connected
from fhir_server.console.desk import Desk
from fhir_server.context import Context, Tenant, fhir_base
from fhir_server.http.who import Who
from fhir_server.smart.connected import Connected
from fhir_server.store.sessions import Session


def pages_of_apps(concord: Concord, desk: Desk, who: Who, forget: Callable[[], None]) -> APIRouter:
    """Return the routes; `forget` makes this process look anew at what was revoked."""

    async def context_of(session: Session, tenant: Tenant) -> Context:
        grant = await who.grant(session, tenant)
        now = in_milliseconds(concord.clock())
        return Context(grant, fhir_base(concord.base_url, tenant), now, logs.request_id(None))

    asked = authorization_of(concord)
    shelf = Connected(concord.db, concord.clock, forget)
    router = APIRouter()
    router.include_router(authorize.routes(authorize.Pages(desk, asked, concord.service, who.tenant, context_of)))
    router.include_router(connected.routes(connected.Shelf(desk, shelf, concord.service, who.tenant, context_of)))
    return router
