"""The clinic's API of deliveries, destinations and secrets, /{tenant}/api/…: see, send again, send never, pause."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field, SecretStr

from fhir_server.context import Context, Grant
from fhir_server.errors import Invalid
from fhir_server.operations import deliveries as operations
from fhir_server.operations.channels import Editor
from fhir_server.operations.deliveries import Act
from fhir_server.search.hashing import Hasher
from fhir_server.smart.acts import require_operator
from fhir_server.store import delivery_log, secrets
from fhir_server.store.database import Database
from fhir_server.store.delivery_log import Wanted
from fhir_server.store.outbox import Sends, State

# What a number in an address can be at most: a bigint of the database.
Number = Annotated[int, Field(ge=0, lt=2**63)]
Text = Annotated[str, Query(max_length=100)]
ContextOf = Callable[[Request, str], Awaitable[Context]]


class DeliveryRow(BaseModel):
    """One delivery as the list shows it: of which message, to where, and what became of it."""

    id: int
    message_id: int
    received: datetime
    channel: str
    destination: str
    sends: Sends
    state: State
    attempts: int
    created: datetime
    due: datetime | None
    finished: datetime | None
    reason: str | None
    control_id: str | None
    message_type: str | None
    trigger: str | None
    refs: list[str] | None


class AttemptRow(BaseModel):
    """One try. `request` and `answer` are base64, as far as they are kept; null: that of the try before, or none."""

    number: int
    began: datetime
    ended: datetime | None
    outcome: str | None
    reason: str | None
    request: str | None
    request_bytes: int
    answer: str | None
    answer_bytes: int


class WholeDelivery(DeliveryRow):
    """A delivery with its tries, the first one first."""

    tries: list[AttemptRow]


class DestinationRow(BaseModel):
    """How a destination fares, and how much for it is not done, by state."""

    channel: str
    name: str
    kind: str
    sends: Literal["yes", "paused", "stopped", "waiting"]
    failures: int
    closed_until: datetime | None
    stopped_by: int | None
    reason: str | None
    open: dict[str, int]


class Moved(BaseModel):
    """The numbers of the deliveries that were changed."""

    deliveries: list[int]


class Paused(BaseModel):
    """Whether a destination is paused."""

    paused: bool


class SecretRow(BaseModel):
    """A secret without its value."""

    name: str
    author: str
    changed: datetime


class SecretValue(BaseModel):
    """The value that a secret gets."""

    value: SecretStr


def routes(db: Database, hasher: Hasher, context_of: ContextOf) -> APIRouter:
    """Return the routes; `context_of` turns a request at a tenant, by token or session, into its context, or raises."""
    router = APIRouter(prefix="/{tenant}/api", tags=["deliveries"])

    def asking(what: str, letter: str) -> Callable[[Request, str], Awaitable[Editor]]:
        async def asks(request: Request, tenant: str) -> Editor:
            ctx = await context_of(request, tenant)
            return _editor(require_operator(ctx.grant, what, letter), ctx.now)

        return asks

    _deliveries(router, db, asking("deliveries", "r"), asking("deliveries", "u"))
    _destinations(router, db, hasher, asking("channels", "r"), asking("channels", "u"))
    return router


def _editor(grant: Grant, now: datetime) -> Editor:
    return Editor(grant.tenant.id, grant.subject, grant.client, now)


Asks = Callable[[Request, str], Awaitable[Editor]]


def _deliveries(router: APIRouter, db: Database, reader: Asks, changer: Asks) -> None:
    @router.get("/deliveries")
    async def list_(
        who: Editor = Depends(reader),
        state: Annotated[list[State] | None, Query()] = None,
        channel: Text | None = None,
        destination: Text | None = None,
        message: Number | None = None,
        before: Number | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    ) -> list[DeliveryRow]:
        """Return deliveries, the newest first; the next page is `before` the last one's id."""
        wanted = Wanted(states=state or (), channel=channel, destination=destination, message_id=message)
        rows = await delivery_log.listed(db, who.tenant_id, wanted, before=before, limit=limit)
        return [DeliveryRow.model_validate(row, from_attributes=True) for row in rows]

    @router.get("/deliveries/{id_}")
    async def show(id_: Number, who: Editor = Depends(reader)) -> WholeDelivery:
        """Return a delivery with each try, what was sent and what was answered."""
        row, attempts = await operations.shown(db, who, id_)
        tries = [AttemptRow.model_validate(_encoded(msgspec.structs.asdict(one))) for one in attempts]
        return WholeDelivery(**msgspec.structs.asdict(row), tries=tries)

    @router.post("/deliveries/{id_}/{what}", status_code=202)
    async def one(id_: Number, what: Act, who: Editor = Depends(changer)) -> Moved:
        """Send a delivery now, or never."""
        return await _moved(db, who, what, Wanted(ids=[id_]))

    @router.post("/deliveries/{what}", status_code=202)
    async def several(
        what: Act,
        who: Editor = Depends(changer),
        state: Annotated[list[State] | None, Query()] = None,
        channel: Text | None = None,
        destination: Text | None = None,
    ) -> Moved:
        """Send all deliveries of a state or destination now, or never: the oldest first, 10,000 at one time."""
        wanted = Wanted(states=state or (), channel=channel, destination=destination)
        if wanted.all:
            raise Invalid("name a state, a channel or a destination")
        return await _moved(db, who, what, wanted)


async def _moved(db: Database, who: Editor, what: Act, wanted: Wanted) -> Moved:
    moved = await operations.act(db, who, what, wanted)
    if wanted.ids and not moved:
        raise Invalid("it is not there, is being sent, or not of a state for this")
    return Moved(deliveries=[one.id for one in moved])


def _encoded(row: dict[str, object]) -> dict[str, object]:
    return {name: base64.b64encode(v).decode() if isinstance(v, bytes) else v for name, v in row.items()}


def _destinations(router: APIRouter, db: Database, hasher: Hasher, reader: Asks, changer: Asks) -> None:
    @router.get("/destinations")
    async def list_(who: Editor = Depends(reader)) -> list[DestinationRow]:
        """Return the destinations of the working channels, and whether anything is sent there."""
        rows = await operations.fares(db, who.tenant_id)
        return [DestinationRow.model_validate(row, from_attributes=True) for row in rows]

    @router.put("/destinations/{channel}/{name}")
    async def pause(channel: str, name: str, wanted: Paused, who: Editor = Depends(changer)) -> Paused:
        """Send nothing to a destination until it is told otherwise, or send again."""
        there = operations.place(hasher, who.tenant_id, channel, name)
        await operations.set_paused(db, who, there, paused=wanted.paused)
        return wanted

    @router.get("/secrets")
    async def secrets_(who: Editor = Depends(reader)) -> list[SecretRow]:
        """Return the secrets that definitions may name, without their values."""
        found = await secrets.listed(db, who.tenant_id)
        return [SecretRow.model_validate(row, from_attributes=True) for row in found]

    @router.put("/secrets/{name}", status_code=204)
    async def put(name: str, given: SecretValue, who: Editor = Depends(changer)) -> None:
        """Give a secret its value; it is shown to nobody again."""
        await operations.set_secret(db, who, name, given.value.get_secret_value().encode())

    @router.delete("/secrets/{name}", status_code=204)
    async def drop(name: str, who: Editor = Depends(changer)) -> None:
        """Take a secret away."""
        await operations.drop_secret(db, who, name)
