"""The clinic's API of alerts, /{tenant}/api/alerts: see and acknowledge them, say who is told, and try it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from adapters.web import Refused, Web
from fhir_server.context import Context, Grant
from fhir_server.errors import Invalid
from fhir_server.operations import alerts as operations
from fhir_server.operations.channels import Editor
from fhir_server.operations.notices import says
from fhir_server.smart.acts import require_operator
from fhir_server.store import alert_targets, alerts
from fhir_server.store.alert_targets import Kind
from fhir_server.store.database import Database

ContextOf = Callable[[Request, str], Awaitable[Context]]
Number = Annotated[int, Path(ge=0, lt=2**63)]


class AlertRow(BaseModel):
    """One alert: of which channel ("" for the clinic), what, how often, since when, and who takes care of it."""

    id: int
    channel: str
    kind: str
    text: str
    count: int
    detail: dict[str, Any]
    first: datetime
    last: datetime
    acknowledged: datetime | None
    acknowledged_by: str | None
    note: str | None
    resolved: datetime | None


class Acknowledgement(BaseModel):
    """What is done about it."""

    model_config = ConfigDict(extra="forbid")

    note: Annotated[str | None, Field(max_length=2000)] = None


class Recipient(BaseModel):
    """Who is told: an e-mail address, or a webhook's https address."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    address: Annotated[str, Field(max_length=2048)]


class Told(Recipient):
    """A recipient as it is kept; `secret` signs what a webhook gets and is told this once."""

    model_config = ConfigDict(extra="ignore")

    created: datetime
    author: str
    secret: str | None = None


def routes(db: Database, web: Web, context_of: ContextOf) -> APIRouter:
    """Return the routes; `context_of` turns a request at a tenant, by token or session, into its context, or raises."""
    router = APIRouter(prefix="/{tenant}/api/alerts", tags=["channels"])

    async def reader(request: Request, tenant: str) -> Grant:
        return require_operator((await context_of(request, tenant)).grant, "alerts", "r")

    async def editor(request: Request, tenant: str) -> Editor:
        ctx = await context_of(request, tenant)
        grant = require_operator(ctx.grant, "alerts", "u")
        return Editor(grant.tenant.id, grant.subject, grant.client, ctx.now)

    @router.get("")
    async def list_(
        grant: Grant = Depends(reader),
        standing: bool = False,
        before: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    ) -> list[AlertRow]:
        """Return alerts, the newest first; the next page is `before` the last one's id."""
        rows = await alerts.listed(db, grant.tenant.id, standing=standing, before=before, limit=limit)
        return [_row(one) for one in rows]

    @router.post("/{alert_id}/acknowledge", status_code=204)
    async def acknowledge(alert_id: Number, given: Acknowledgement, who: Editor = Depends(editor)) -> None:
        """Take care of an alert: nobody is reminded of it any more."""
        await operations.acknowledge(db, who, alert_id, given.note)

    @router.post("/test", status_code=202)
    async def test(tenant: str, who: Editor = Depends(editor)) -> dict[str, int]:
        """Send a test to every recipient of the clinic, and return how many there are."""
        return {"recipients": await operations.test(db, who, tenant)}

    @router.get("/recipients")
    async def recipients(grant: Grant = Depends(reader)) -> list[Told]:
        """Return who is told of the clinic's alerts, without secrets."""
        rows = await alert_targets.listed(db, grant.tenant.id)
        return [Told(kind=r.kind, address=r.address, created=r.created, author=r.author) for r in rows]

    @router.post("/recipients", status_code=201)
    async def add(given: Recipient, who: Editor = Depends(editor)) -> Told:
        """Have somebody told."""
        if given.kind == "webhook":
            try:
                web.require(given.address)
            except Refused as problem:
                raise Invalid(str(problem), "address") from None
        one, secret = await operations.add_target(db, who, given.kind, given.address)
        return Told(kind=one.kind, address=one.address, created=one.created, author=one.author, secret=secret)

    @router.delete("/recipients", status_code=204)
    async def remove(address: Annotated[str, Query(max_length=2048)], who: Editor = Depends(editor)) -> None:
        """Have somebody told no more."""
        await operations.remove_target(db, who, address)

    return router


def _row(one: alerts.Alert) -> AlertRow:
    return AlertRow(
        id=one.id, channel=one.channel, kind=one.kind, text=says(one.kind, one.detail, one.count), count=one.count,
        detail=one.detail, first=one.first, last=one.last, acknowledged=one.acknowledged,
        acknowledged_by=one.acknowledged_by, note=one.note, resolved=one.resolved,
    )  # fmt: skip
