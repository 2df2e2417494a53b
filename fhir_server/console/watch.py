"""The page of a clinic's channels, /{tenant}/watch: what stands, what each did within a day, and what waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from fhir_server.console import watching
from fhir_server.console.desk import Desk
from fhir_server.context import Grant, Tenant
from fhir_server.errors import FhirError
from fhir_server.operations import alerts as operations
from fhir_server.operations.channels import Editor
from fhir_server.operations.definition import Definition, read
from fhir_server.store import alert_targets, alerts, channels, figures
from fhir_server.store.channels import StoredChannel
from fhir_server.store.database import Database
from fhir_server.store.sessions import Session

TenantOf = Callable[[str], Awaitable[Tenant]]
GrantOf = Callable[[Session, Tenant], Awaitable[Grant]]
_MAY = ("clinic-admin", "super-admin")
_NOT_YOURS = "This page is for the administrators of a clinic and of the installation."


class WatchPage(msgspec.Struct, frozen=True):
    """The page, on what it asks."""

    desk: Desk
    db: Database
    tenant_of: TenantOf
    grant_of: GrantOf

    async def show(self, request: Request, tenant: str) -> Response:
        """Show the channels of a clinic."""
        # It loads itself again and again: that alone must not keep a session alive.
        session, grant = await self._who(request, tenant, touch="shown" not in request.query_params)
        now, id_ = self.desk.clock(), grant.tenant.id
        stored = await channels.all_of(self.db, id_)
        counts = await figures.bars(self.db, id_, now - watching.DAY, watching.BAR)
        known = {one.name: (one.state, _read(one)) for one in stored}
        cards = watching.cards(now, known, counts, await figures.waiting(self.db, id_))
        standing = [watching.alert_card(one) for one in await alerts.standing(self.db, id_)]
        targets = await alert_targets.listed(self.db, id_)
        return await self.desk.page(
            request, "watch.html", session, clinic=tenant, now=now, cards=cards, alerts=standing,
            recipients=len(targets), bars=watching.BARS,
        )  # fmt: skip

    async def acknowledge(self, request: Request, tenant: str) -> Response:
        """Take care of an alert."""
        session, grant = await self._who(request, tenant)
        number = (await self.desk.form(request, session)).get("alert", "")
        try:
            who = Editor(grant.tenant.id, session.sub, grant.client, self.desk.clock())
            await operations.acknowledge(self.db, who, int(number) if number.isdecimal() and len(number) < 19 else -1)
        except FhirError:
            raise await self.desk.refused(request, "This alert stands no more, or somebody took it.", 404) from None
        return RedirectResponse(request.url.path, 303)

    async def _who(self, request: Request, tenant: str, *, touch: bool = True) -> tuple[Session, Grant]:
        found = await self.tenant_of(tenant)
        session = await self.desk.signed_in(request, touch=touch)
        grant = await self.grant_of(session, found)
        if grant.member is None or grant.member.role not in _MAY:
            raise await self.desk.refused(request, _NOT_YOURS, 403)
        return session, grant


def routes(page: WatchPage) -> APIRouter:
    """Return the routes."""
    router = APIRouter(include_in_schema=False)
    router.add_api_route("/{tenant}/watch", page.show, methods=["GET"])
    router.add_api_route("/{tenant}/watch", page.acknowledge, methods=["POST"])
    return router


def _read(stored: StoredChannel) -> Definition | None:
    try:
        return read(msgspec.json.encode(stored.definition))
    except FhirError:
        return None
