"""The clinic's API, /{tenant}/api/…: typed routes for what FHIR has no address for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field

from conformance.issue import error, outcome
from fhir_server.context import Context, Grant
from fhir_server.errors import FhirError, Invalid, NotFound
from fhir_server.http.wire import failure_headers
from fhir_server.smart.acts import require_operator
from fhir_server.store import messages as stored
from fhir_server.store.database import Database
from fhir_server.store.inbox import State

# What a number in an address can be at most: a bigint of the database.
Number = Annotated[int, Field(ge=0, lt=2**63)]
ContextOf = Callable[[Request, str], Awaitable[Context]]


class MessageRow(BaseModel):
    """One HL7 message as the list shows it: where it came from and what became of it."""

    id: int
    received: datetime
    state: State
    sender_app: str | None
    sender_facility: str | None
    control_id: str | None
    message_type: str | None
    trigger: str | None
    attempts: int
    reason: Any = None
    result: Any = None


def routes(db: Database, context_of: ContextOf) -> APIRouter:
    """Return the routes; `context_of` turns a request at a tenant, by token or session, into its context, or raises."""
    router = APIRouter(prefix="/{tenant}/api", tags=["clinic"])

    async def operator(request: Request, tenant: str) -> Grant:
        return require_operator((await context_of(request, tenant)).grant, "messages", "r")

    async def worker(request: Request, tenant: str) -> Grant:
        return require_operator((await context_of(request, tenant)).grant, "messages", "u")

    @router.get("/messages/counts")
    async def counts(grant: Grant = Depends(operator)) -> Mapping[str, int]:
        """Return how many messages there are in each state."""
        return await stored.counts(db, grant.tenant.id)

    @router.get("/messages")
    async def messages(
        grant: Grant = Depends(operator),
        state: State | None = None,
        before: Number | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    ) -> list[MessageRow]:
        """Return messages, the newest first; the next page is `before` the last one's id."""
        rows = await stored.listed(db, grant.tenant.id, states=[state] if state else [], before=before, limit=limit)
        return [MessageRow.model_validate(row, from_attributes=True) for row in rows]

    @router.post("/messages/{message_id}/replay", status_code=202)
    async def replay(message_id: Number, grant: Grant = Depends(worker)) -> Mapping[str, str]:
        """Send a message that is done or buried through the steps once more."""
        if not await stored.replay(db, grant.tenant.id, [message_id]):
            raise NotFound(f"there is no message {message_id} that could be replayed")
        return {"state": "received"}

    return router


def tell_failures(app: FastAPI) -> None:
    """Answer every FhirError with its status and an OperationOutcome, as the FHIR door does."""

    @app.exception_handler(FhirError)
    async def failed(_: Request, problem: FhirError) -> Response:
        headers = failure_headers(problem)
        return Response(outcome(problem.issues), problem.status, headers, media_type="application/fhir+json")

    @app.exception_handler(RequestValidationError)
    async def refused(request: Request, problem: RequestValidationError) -> Response:
        # Where and why, never what: it may be of a patient.
        issues = [error("invalid", one["msg"], ".".join(map(str, one["loc"]))) for one in problem.errors()]
        return await failed(request, Invalid(issues))
