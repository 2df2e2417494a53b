"""The clinic's API of messages, /{tenant}/api/messages: found by their fields, shown whole, processed again.

Who was shown which message, and whose it was, is audited.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from fhir_server.context import Context
from fhir_server.errors import Invalid, NotFound
from fhir_server.operations import messages as operations
from fhir_server.operations import replaying
from fhir_server.operations.messages import Asked
from fhir_server.search.hashing import Hasher
from fhir_server.smart.acts import require_operator
from fhir_server.store import message_search
from fhir_server.store import messages as stored
from fhir_server.store.audit import Audited
from fhir_server.store.database import Database
from fhir_server.store.inbox import State
from mappings import hl7v2

# What a number in an address can be at most: a bigint of the database.
Number = Annotated[int, Field(ge=0, lt=2**63)]
Text = Annotated[str, Query(max_length=300)]
ContextOf = Callable[[Request, str], Awaitable[Context]]


class MessageRow(BaseModel):
    """One HL7 message as the list shows it: where it came from and what became of it."""

    id: int
    received: datetime
    channel: str
    state: State
    sender_app: str | None
    sender_facility: str | None
    control_id: str | None
    message_type: str | None
    trigger: str | None
    patients: list[str]
    orders: list[str]
    reused_id: bool
    attempts: int
    due: datetime | None = None
    processed: datetime | None = None
    peer: str | None = None
    reason: Any = None
    result: Any = None


class ReplayRow(BaseModel):
    """How far a replay of a search is: messages looked at, and those of them that are queued again."""

    id: int
    state: str
    created: datetime
    finished: datetime | None
    looked: int
    queued: int


class WholeMessage(MessageRow):
    """A message with its text, by its own character set, and the acknowledgement that its sender got."""

    text: str
    ack: str | None


def routes(db: Database, hasher: Hasher, context_of: ContextOf) -> APIRouter:
    """Return the routes; `context_of` turns a request at a tenant, by token or session, into its context, or raises."""
    router = APIRouter(prefix="/{tenant}/api/messages", tags=["messages"])

    async def operator(request: Request, tenant: str) -> Context:
        ctx = await context_of(request, tenant)
        require_operator(ctx.grant, "messages", "r")
        return ctx

    async def worker(request: Request, tenant: str) -> Context:
        ctx = await context_of(request, tenant)
        require_operator(ctx.grant, "messages", "u")
        return ctx

    # Before the routes of one message, whose number would be asked for otherwise.
    _replays(router, db, hasher, operator, worker)

    @router.get("/counts")
    async def counts(ctx: Context = Depends(operator)) -> Mapping[str, int]:
        """Return how many messages there are in each state."""
        return await stored.counts(db, ctx.tenant.id)

    @router.get("")
    async def messages(
        request: Request,
        response: Response,
        asked: Asked = Depends(_asked),
        before: Annotated[str | None, Query(max_length=60)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        ctx: Context = Depends(operator),
    ) -> list[MessageRow]:
        """Return messages, the newest first; the Link header has the next page, also where one is short."""
        wanted = operations.wanted(asked, hasher, ctx.tenant.id)
        after = await operations.place(db, ctx.tenant.id, before) if before else None
        page = await message_search.found(db, ctx.tenant.id, wanted, ctx.now, after=after, limit=limit)
        if page.next:
            response.headers["link"] = _link(request, operations.token(page.next))
        ctx.trail.extend(operations.seen("message-list", page.messages, hasher, ctx.tenant.id))
        return [MessageRow.model_validate(row, from_attributes=True) for row in page.messages]

    @router.get("/{message_id}")
    async def whole(message_id: Number, ctx: Context = Depends(operator)) -> WholeMessage:
        """Return one message with its text and its acknowledgement."""
        found = await stored.show(db, ctx.tenant.id, message_id)
        if found is None:
            raise NotFound(f"there is no message {message_id}")
        ctx.trail.extend(operations.seen("message-read", [found.summary], hasher, ctx.tenant.id))
        row = MessageRow.model_validate(found.summary, from_attributes=True)
        ack = hl7v2.decode(found.ack).text if found.ack else None
        return WholeMessage(**row.model_dump(), text=hl7v2.decode(found.raw).text, ack=ack)

    _changes(router, db, worker)
    return router


def _replays(
    router: APIRouter,
    db: Database,
    hasher: Hasher,
    operator: Callable[[Request, str], Awaitable[Context]],
    worker: Callable[[Request, str], Awaitable[Context]],
) -> None:
    @router.get("/replays")
    async def replays(ctx: Context = Depends(operator)) -> list[ReplayRow]:
        """Return the latest replays of searches and how far each is."""
        rows = await replaying.listed(db, ctx.tenant.id)
        return [ReplayRow.model_validate(row, from_attributes=True) for row in rows]

    @router.post("/replay", status_code=202)
    async def replay_all(asked: Asked = Depends(_asked), ctx: Context = Depends(worker)) -> Mapping[str, str]:
        """Have all messages of a search processed again that are done or buried, the oldest first, as a job."""
        if asked == Asked():
            raise Invalid("say which messages: a replay of all takes a filter, such as since=2000-01-01")
        await replaying.start(db, ctx, operations.wanted(asked, hasher, ctx.tenant.id))
        return {"state": "queued"}


def _changes(router: APIRouter, db: Database, worker: Callable[[Request, str], Awaitable[Context]]) -> None:
    @router.post("/{message_id}/replay", status_code=202)
    async def replay(message_id: Number, ctx: Context = Depends(worker)) -> Mapping[str, str]:
        """Send a message that is done or buried through the steps once more."""
        if not await stored.replay(db, ctx.tenant.id, [message_id]):
            raise NotFound(f"there is no message {message_id} that could be replayed")
        return {"state": "received"}

    @router.post("/{message_id}/release", status_code=202)
    async def release(message_id: Number, ctx: Context = Depends(worker)) -> Mapping[str, str]:
        """Have a message processed that was quarantined, because its control id came before with other content."""
        grant = ctx.grant
        who = Audited(at=ctx.now, action="message-release", subject=grant.subject, client=grant.client, outcome=202)
        if not await stored.release(db, grant.tenant.id, [message_id], who):
            raise NotFound(f"there is no message {message_id} in quarantine")
        return {"state": "received"}


def _asked(
    channel: Annotated[Sequence[str], Query(max_length=20)] = (),
    state: Annotated[Sequence[State], Query()] = (),
    kind: Annotated[Sequence[str], Query(alias="type", max_length=20)] = (),
    sender: Text | None = None,
    patient: Text | None = None,
    order: Text | None = None,
    control_id: Text | None = None,
    error: Text | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Asked:
    """Return the filters of a search, as parameters of its address."""
    return Asked(
        channels=channel,
        states=state,
        types=kind,
        sender=sender,
        patient=patient,
        order=order,
        control_id=control_id,
        error=error,
        since=operations.in_utc(since),
        until=operations.in_utc(until),
    )


def _link(request: Request, before: str) -> str:
    rest = [(name, value) for name, value in request.query_params.multi_items() if name != "before"]
    return f'<{request.url.path}?{urlencode([*rest, ("before", before)])}>; rel="next"'
