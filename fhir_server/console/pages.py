"""The operator's page, /console: counts of messages, without a script; and the files that pages use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from importlib import resources

from fastapi import APIRouter, Request
from fastapi.responses import Response

from fhir_server.console.desk import Desk
from fhir_server.console.views import Overview
from fhir_server.errors import NotFound
from fhir_server.store.people import Membership
from fhir_server.store.sessions import Session

# Of the named clinics, or with None of all.
Look = Callable[[Collection[str] | None], Awaitable[Overview]]
MembershipsOf = Callable[[int], Awaitable[list[Membership]]]
_STATIC = {"console.css": "text/css", "icon.svg": "image/svg+xml", "keys.js": "text/javascript"}
_KEPT = {"cache-control": "max-age=3600", "x-content-type-options": "nosniff"}
_NOT_YOURS = "This page is for the administrators of a clinic and of the installation."


def routes(desk: Desk, look: Look, memberships_of: MembershipsOf) -> APIRouter:
    """Return the routes of the operator's page."""
    static = resources.files("fhir_server.console").joinpath("static")
    files = {name: static.joinpath(name).read_text() for name in _STATIC}
    router = APIRouter(include_in_schema=False)

    async def seen_by(session: Session) -> list[str] | None:
        if session.super_admin:
            return None
        return [m.tenant.name for m in await memberships_of(session.person) if m.role == "clinic-admin"]

    @router.get("/console")
    async def console(request: Request) -> Response:
        # It loads itself again and again: that alone must not keep a session alive.
        session = await desk.signed_in(request, touch="shown" not in request.query_params)
        names = await seen_by(session)
        if names is not None and not names:
            raise await desk.refused(request, _NOT_YOURS, 403)
        return await desk.page(request, "overview.html", session, page=await look(names))

    @router.get("/console/{name}")
    async def file(name: str) -> Response:
        if name not in files:
            raise NotFound("there is no such file")
        return Response(files[name], media_type=_STATIC[name], headers=_KEPT)

    return router
