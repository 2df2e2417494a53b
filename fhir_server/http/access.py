"""Access by the clinic's API: what the one who asks may do, and the review of everybody's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from fhir_server.context import Context
from fhir_server.interactions.service import Service
from fhir_server.smart.permissions import permissions
from fhir_server.smart.review import review

ContextOf = Callable[[Request, str], Awaitable[Context]]


def routes(service: Service, context_of: ContextOf) -> APIRouter:
    """Return the routes; `context_of` tells whom a request is from, or raises."""
    router = APIRouter(prefix="/{tenant}/api", tags=["clinic"])

    async def asked(request: Request, tenant: str) -> Context:
        return await context_of(request, tenant)

    @router.get("/me/permissions")
    async def mine(ctx: Context = Depends(asked)) -> Response:
        """Return what the one who asks may do: role, scopes, rules, and the interactions with each type."""
        return _json(permissions(ctx, service.rules))

    @router.get("/access-review")
    async def reviewed(ctx: Context = Depends(asked), days: Annotated[int, Query(ge=1, le=3650)] = 90) -> Response:
        """Return who has access to this clinic, and the special access of the last days: for its admin."""
        return _json(await review(service.db, service.hasher, ctx, timedelta(days=days)))

    return router


def _json(found: Any) -> Response:
    return Response(msgspec.json.encode(found), media_type="application/json")
