"""Special access by the clinic's API: break the glass, open a support session, end, list and review them.

Who opens one is signed in by a browser: a token of an app cannot.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from fhir_server.context import Context
from fhir_server.http.who import Who
from fhir_server.smart.special import Given, Special, Wanted, whose
from fhir_server.smart.told import Source


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=4000)]
    code: Annotated[str, Field(max_length=20)] = ""
    minutes: Annotated[int | None, Field(ge=1, le=1440)] = None

    def wanted(self) -> Wanted:
        """Return what is asked for."""
        return Wanted(self.reason, self.code, self.minutes)


class BreakGlass(_Asked):
    """An emergency: whose record, Patient/…, and why; `code` is one of an authenticator app."""

    patient: Annotated[str, Field(max_length=200)]


class Support(_Asked):
    """A super admin's work in this clinic, and why."""


class Review(BaseModel):
    """What came of it."""

    model_config = ConfigDict(extra="forbid")

    justified: bool
    note: Annotated[str, Field(max_length=4000)] = ""


class Token(BaseModel):
    """A bearer token that reads until `expires`, and the id by which the access is ended and reviewed."""

    id: str
    token: str
    expires: datetime


class AccessRow(BaseModel):
    """One access: whose, for whom, why, how long, and what a reviewer made of it."""

    id: str
    kind: str
    email: str
    name: str
    patient_id: str | None
    reason: str
    opened: datetime
    expires: datetime
    ended: datetime | None
    reviewed: datetime | None
    justified: bool | None
    note: str | None


def routes(special: Special, who: Who) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/{tenant}/api", tags=["clinic"])

    async def asked(request: Request, tenant: str) -> Context:
        ctx = await who.context(request, tenant)
        whose(ctx)
        return ctx

    @router.post("/break-glass", status_code=201)
    async def break_glass(tenant: str, given: BreakGlass, request: Request) -> Token:
        """Open one patient's record for an emergency: to be read, for an hour at most, and reviewed afterwards."""
        session, clinic = await who.person(request, tenant)
        opened = await special.break_glass(session, clinic, given.patient, given.wanted(), _source(who, request))
        return _token(opened)

    @router.post("/support-sessions", status_code=201)
    async def support(tenant: str, given: Support, request: Request) -> Token:
        """Let a super admin read in this clinic for a while."""
        session, clinic = await who.person(request, tenant)
        return _token(await special.support(session, clinic, given.wanted(), _source(who, request)))

    @router.get("/special-access")
    async def listed(ctx: Context = Depends(asked), unreviewed: bool = False) -> list[AccessRow]:
        """Return the special accesses of the clinic, the newest first; to anybody but its admin their own."""
        rows = await special.listed(ctx, unreviewed=unreviewed)
        return [AccessRow.model_validate(row, from_attributes=True) for row in rows]

    @router.post("/special-access/{id_}/end", status_code=204)
    async def end(id_: str, ctx: Context = Depends(asked)) -> None:
        """End one before its time: its token falls at once."""
        await special.end(ctx, id_)

    @router.post("/special-access/{id_}/review", status_code=204)
    async def review(id_: str, given: Review, ctx: Context = Depends(asked)) -> None:
        """Say whether it was justified."""
        await special.review(ctx, id_, given.justified, given.note)

    return router


def _token(opened: Given) -> Token:
    return Token(id=opened.id, token=opened.token, expires=opened.expires)


def _source(who: Who, request: Request) -> Source:
    return Source(who.door.gate.peers.address(request.scope) or None, request.headers.get("user-agent"))
