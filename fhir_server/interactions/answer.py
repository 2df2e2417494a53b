"""Responses that several interactions share. http://hl7.org/fhir/R4/http.html#ops"""

from __future__ import annotations

from datetime import datetime
from email.utils import formatdate, parsedate_to_datetime

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


def fresh(request: Request, body: bytes, version: int, updated: datetime) -> Response:
    """Return one version, or 304 where the client has it: http://hl7.org/fhir/R4/http.html#cread"""
    if _held(request, version, updated):
        return Response(304, b"", versioned(version, updated))
    return resource(body, version, updated)


def is_conditional(request: Request) -> bool:
    """Tell whether the client may have what it asks for already."""
    return "if-none-match" in request.headers or "if-modified-since" in request.headers


def _held(request: Request, version: int, updated: datetime) -> bool:
    """Tell whether If-None-Match names the version or, where that is not sent, it is no newer than If-Modified-Since.

    A date that cannot be read is ignored, as https://www.rfc-editor.org/rfc/rfc9110#field.if-modified-since demands.
    """
    tags = request.headers.get("if-none-match")
    if tags is not None:
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return bool(known & {"*", f'"{version}"', str(version)})
    since = request.headers.get("if-modified-since")
    try:
        moment = parsedate_to_datetime(since) if since else None
    except (ValueError, OverflowError):
        return False
    return moment is not None and moment.tzinfo is not None and updated.replace(microsecond=0) <= moment


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
