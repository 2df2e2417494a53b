"""The clinic's API of channels, /{tenant}/api/channels: read, change, promote, pause, resume and drain them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel

from fhir_server.context import Context, Grant
from fhir_server.errors import NotFound
from fhir_server.operations import channels as operations
from fhir_server.operations.channels import Editor
from fhir_server.smart.acts import require_operator
from fhir_server.store import channels, polls
from fhir_server.store.channels import ChannelState, StoredChannel
from fhir_server.store.database import Database
from fhir_server.store.polls import Look

ContextOf = Callable[[Request, str], Awaitable[Context]]


class PollingRow(BaseModel):
    """How a folder or FHIR server fares that is looked at: the last look that went well, and what went wrong last."""

    looked: datetime | None
    taken: datetime | None
    total: int
    failures: int
    failed: datetime | None
    failure: str | None


class ChannelRow(BaseModel):
    """A channel and the definition that works."""

    name: str
    state: ChannelState
    version: int
    changed: datetime
    definition: dict[str, Any]
    polling: PollingRow | None = None


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


def routes(db: Database, context_of: ContextOf, ports: tuple[range, ...]) -> APIRouter:
    """Return the routes; `context_of` turns a request at a tenant, by token or session, into its context, or raises.

    `ports` are those that channels may have for themselves.
    """
    router = APIRouter(prefix="/{tenant}/api/channels", tags=["channels"])

    async def reader(request: Request, tenant: str) -> Grant:
        return require_operator((await context_of(request, tenant)).grant, "channels", "r")

    async def editor(request: Request, tenant: str) -> Editor:
        ctx = await context_of(request, tenant)
        grant = require_operator(ctx.grant, "channels", "u")
        return Editor(grant.tenant.id, grant.subject, grant.client, ctx.now, ports, clinic=True)

    @router.get("")
    async def list_(grant: Grant = Depends(reader)) -> list[ChannelRow]:
        """Return the tenant's channels by name."""
        looks = await polls.all_of(db, grant.tenant.id)
        return [_row(one, looks.get(one.name)) for one in await channels.all_of(db, grant.tenant.id)]

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


def _row(channel: StoredChannel, look: Look | None) -> ChannelRow:
    row = ChannelRow.model_validate(channel, from_attributes=True)
    return row.model_copy(update={"polling": PollingRow.model_validate(look, from_attributes=True)}) if look else row
