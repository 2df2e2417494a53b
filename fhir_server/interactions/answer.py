"""Responses that several interactions share. http://hl7.org/fhir/R4/http.html#ops"""

from __future__ import annotations

from datetime import datetime
from email.utils import formatdate

from conformance.issue import Issue, outcome
from fhir_server.context import Context
from fhir_server.interactions.draft import Saved
from fhir_server.interactions.message import Request, Response, preference


def versioned(version: int, updated: datetime) -> dict[str, str]:
    """Return the ETag and Last-Modified headers of one version."""
    return {"etag": f'W/"{version}"', "last-modified": formatdate(updated.timestamp(), usegmt=True)}


def resource(body: bytes, version: int, updated: datetime, status: int = 200) -> Response:
    """Return one version of a resource."""
    return Response(status, body, versioned(version, updated))


def saved(ctx: Context, request: Request, result: Saved) -> Response:
    """Return what a client asked to get after a create or update (Prefer: return=…)."""
    headers = versioned(result.version, result.updated)
    if result.status == 201 or request.method == "POST":
        headers["location"] = f"{ctx.base}/{result.type}/{result.id}/_history/{result.version}"
    match preference(request, "return"):
        case "minimal":
            return Response(result.status, b"", headers)
        case "OperationOutcome":
            return Response(result.status, outcome([_done(result)]), headers)
        case _:
            return Response(result.status, result.body or b"", headers)


def _done(result: Saved) -> Issue:
    what = "stored" if result.changed else "already so"
    return Issue("information", "informational", f"{result.type}/{result.id} version {result.version} {what}")
