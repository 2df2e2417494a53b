"""POST /{tenant}/api/launch: a signed-in user starts an app with what is open on the screen.

https://hl7.org/fhir/smart-app-launch/app-launch.html#launch-app-ehr-launch
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from fhir_server.context import Context
from fhir_server.errors import Forbidden, Invalid
from fhir_server.interactions.message import Request as FhirRequest
from fhir_server.interactions.service import Service
from fhir_server.interactions.table import dispatch
from fhir_server.smart.launching import Launcher

# http://hl7.org/fhir/R4/datatypes.html#id
_ID = r"^[A-Za-z0-9\-.]{1,64}$"
WhoAsks = Callable[[Request, str], Awaitable[Context]]


class LaunchIn(BaseModel):
    """Which app is started, with which patient and encounter, by their ids."""

    model_config = ConfigDict(extra="forbid")
    client_id: str = Field(min_length=1, max_length=255)
    patient: str | None = Field(default=None, pattern=_ID)
    encounter: str | None = Field(default=None, pattern=_ID)


class LaunchOut(BaseModel):
    """Where the browser is to go; good once, for this app and this user, for a few minutes."""

    url: str


def routes(service: Service, launcher: Launcher, who_asks: WhoAsks) -> APIRouter:
    """Return the route; `who_asks` tells whom a request is from, or raises."""
    router = APIRouter(prefix="/{tenant}/api", tags=["apps"])

    async def asking(request: Request, tenant: str) -> Context:
        return await who_asks(request, tenant)

    @router.post("/launch", status_code=201)
    async def launch(asked: LaunchIn, ctx: Context = Depends(asking)) -> LaunchOut:
        """Return the address that starts an app with a patient and an encounter, both of which the user may see."""
        member = ctx.grant.member
        if member is None:
            raise Forbidden("a person starts an app, and no program")
        await _require_seen(service, ctx, asked)
        tenant, subject = ctx.tenant, ctx.grant.subject
        return LaunchOut(
            url=await launcher.launch(tenant, member, subject, asked.client_id, asked.patient, asked.encounter)
        )

    return router


class _Reference(msgspec.Struct):
    reference: str | None = None


class _Encounter(msgspec.Struct):
    subject: _Reference = msgspec.field(default_factory=_Reference)


async def _require_seen(service: Service, ctx: Context, asked: LaunchIn) -> None:
    """Raise NotFound for what the user may not see, as for what is not there; Invalid for another's encounter."""
    if asked.patient is not None:
        await dispatch(service, ctx, FhirRequest("GET", ("Patient", asked.patient)))
    if asked.encounter is None:
        return
    if asked.patient is None:
        raise Invalid("an encounter is launched with its patient")
    read = await dispatch(service, ctx, FhirRequest("GET", ("Encounter", asked.encounter)))
    whose = msgspec.json.decode(read.body, type=_Encounter).subject.reference or ""
    if whose not in (f"Patient/{asked.patient}", f"{ctx.base}/Patient/{asked.patient}"):
        raise Invalid("the encounter is another patient's")
