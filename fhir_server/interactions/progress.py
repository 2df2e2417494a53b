"""SearchParameter/[id]/$progress: whether a parameter can be searched, and how far the index has come with it.

An operation of this server's own; R4 says nothing of how a parameter comes into use.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from conformance.structures import decode
from fhir_server.context import Context
from fhir_server.errors import Gone
from fhir_server.interactions.body import instant
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.read import find
from fhir_server.interactions.service import Service
from fhir_server.search.definition import is_active
from fhir_server.store import parameters
from fhir_server.store.parameters import Progress

DEFINITION = "urn:concord:OperationDefinition:SearchParameter-progress"


async def progress(service: Service, ctx: Context, request: Request) -> Response:
    """Return Parameters: state (inactive, built-in, indexing or active), done, total, started, finished, error."""
    resource_id = request.path[1]
    row = await find(service, ctx, "SearchParameter", resource_id)
    if row.body is None:
        raise Gone(f"SearchParameter/{resource_id} was deleted")
    found = await parameters.progress(service.db, ctx.tenant.id, resource_id)
    parts = _unused(decode("SearchParameter", row.body)) if found is None else _told(found)
    return Response(200, msgspec.json.encode({"resourceType": "Parameters", "parameter": parts}))


def _unused(resource: Any) -> list[dict[str, Any]]:
    """Say why a resource defines nothing of its own."""
    if not is_active(resource):
        return [_string("state", "inactive"), _string("error", f"its status is {resource.status}: it is not searched")]
    return [_string("state", "built-in")]


def _told(found: Progress) -> list[dict[str, Any]]:
    parts = [_string("state", "active" if found.finished else "indexing"), _count("done", found.done)]
    if found.total is not None:
        parts.append(_count("total", found.total))
    moments = (("requested", found.created), ("started", found.started), ("finished", found.finished))
    parts += [_instant(name, moment) for name, moment in moments if moment]
    if found.failed:
        parts.append(_string("error", f"{found.failed} stored resources could not be read, and are not found by it"))
    return parts


def _string(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "valueString": value}


def _count(name: str, value: int) -> dict[str, Any]:
    return {"name": name, "valueInteger": min(value, 2**31 - 1)}


def _instant(name: str, moment: datetime) -> dict[str, Any]:
    return {"name": name, "valueInstant": instant(moment)}
