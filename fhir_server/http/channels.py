"""The clinic's API of channels, /{tenant}/api/channels: read, change, promote, pause, resume and drain them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel

from fhir_server.clock import Clock
from fhir_server.context import Grant
from fhir_server.errors import Forbidden, NotFound
from fhir_server.operations import channels as operations
from fhir_server.operations.channels import Editor
from fhir_server.smart.scopes import covers
from fhir_server.store import channels
from fhir_server.store.channels import ChannelState
from fhir_server.store.database import Database

Authorize = Callable[[str, str], Awaitable[Grant]]


class ChannelRow(BaseModel):
    """A channel and the definition that works."""

    name: str
    state: ChannelState
    version: int
    changed: datetime
    definition: dict[str, Any]


class VersionRow(BaseModel):
    """One definition that a channel has or had, and who made it when and why."""

    version: int
    author: str
    note: str | None
    created: datetime
    definition: dict[str, Any]


class Saved(BaseModel):
    """What was saved: a definition that says what the newest one says gets no new number."""

    name: str
    version: int


class State(BaseModel):
    """What a channel does: take and work messages, take them only, or work them only."""

    state: ChannelState


def routes(db: Database, authorize: Authorize, clock: Clock) -> APIRouter:
    """Return the routes; `authorize` turns an Authorization header at a tenant into its grant, or raises."""
    router = APIRouter(prefix="/{tenant}/api/channels", tags=["channels"])

    async def reader(request: Request, tenant: str) -> Grant:
        return _require(await authorize(request.headers.get("authorization", ""), tenant), "r")

    async def editor(request: Request, tenant: str) -> Editor:
        grant = _require(await authorize(request.headers.get("authorization", ""), tenant), "u")
        return Editor(grant.tenant.id, grant.subject, grant.client, clock())

    @router.get("")
    async def list_(grant: Grant = Depends(reader)) -> list[ChannelRow]:
        """Return the tenant's channels by name."""
        return [ChannelRow.model_validate(r, from_attributes=True) for r in await channels.all_of(db, grant.tenant.id)]

    @router.get("/{name}/versions")
    async def versions(name: str, grant: Grant = Depends(reader)) -> list[VersionRow]:
        """Return every definition of a channel, the newest first."""
        rows = await channels.versions(db, grant.tenant.id, name)
        if not rows:
            raise NotFound(f"there is no channel {name[:80]!r}")
        return [VersionRow.model_validate(row, from_attributes=True) for row in rows]

    @router.post("")
    async def save(
        definition: dict[str, Any], note: str | None = None, draft: bool = False, who: Editor = Depends(editor)
    ) -> Saved:
        """Save a definition and have it work, unless it is a draft."""
        ((name, version),) = await operations.apply(db, who, [msgspec.json.encode(definition)], note, work=not draft)
        return Saved(name=name, version=version)

    @router.post("/{name}/versions/{version}/promote")
    async def promote(name: str, version: Annotated[int, Path(ge=1, lt=2**31)], who: Editor = Depends(editor)) -> Saved:
        """Have this version work from now on: a newer one goes live, an older one is a roll-back."""
        return Saved(name=name, version=await operations.promote(db, who, name, version))

    @router.put("/{name}/state")
    async def state(name: str, wanted: State, who: Editor = Depends(editor)) -> State:
        """Have a channel run, pause or drain; the answer is what it did before."""
        return State(state=await operations.set_state(db, who, name, wanted.state))

    return router


def _require(grant: Grant, letter: str) -> Grant:
    """Return a grant that may see, or change, what concerns every kind of data; raise Forbidden otherwise.

    A person's scopes say how far an app may go in their name: what they may do here, their role says.
    """
    supporting = grant.purpose == "SUPPORT" and letter == "r"
    if grant.member and not supporting and (grant.member.role != "clinic-admin" or grant.purpose is not None):
        raise Forbidden("channels are for the administrators of a clinic")
    if not [s for s in covers(grant.scopes, "*", letter) if s.type == "*" and s.context != "patient" and not s.params]:
        raise Forbidden(f"channels need a token with system/*.{letter} or user/*.{letter}")
    return grant
