"""update: a new version, or a new resource under the client's id. http://hl7.org/fhir/R4/http.html#update"""

from __future__ import annotations

import msgspec

from fhir_server.context import Context
from fhir_server.errors import Precondition
from fhir_server.interactions import answer
from fhir_server.interactions.body import members_of, text_member
from fhir_server.interactions.content import shown
from fhir_server.interactions.draft import Save
from fhir_server.interactions.message import Request, Response, if_match, refuse_conditions, refuse_query, require_id
from fhir_server.interactions.service import Service
from fhir_server.interactions.write import commit


async def update(service: Service, ctx: Context, request: Request) -> Response:
    """Store the body under the id of the address; nothing is written where nothing would change."""
    (result,) = await commit(service, ctx, [update_of(service, request)])
    return answer.saved(ctx, request, await shown(service, ctx, result))


def update_of(service: Service, request: Request, path: str = "", full_url: str | None = None) -> Save:
    """Return the Save for a PUT; raise Invalid for an id that FHIR does not allow."""
    if len(request.path) == 1:
        return conditional_update_of(service, request, path, full_url)
    resource_type, resource_id = request.path
    require_id(resource_id, path or resource_type)
    refuse_query(request, path)
    return Save(
        type=resource_type,
        action="update",
        id=resource_id,
        resource=request.body,
        path=path,
        full_url=full_url,
        if_match=required_version(service, request),
    )


def conditional_update_of(service: Service, request: Request, path: str, full_url: str | None) -> Save:
    """Return the Save for a PUT to `Type?criteria`; http://hl7.org/fhir/R4/http.html#cond-update"""
    (resource_type,) = request.path
    return Save(
        type=resource_type,
        action="update",
        id=_given_id(request.body),
        resource=request.body,
        path=path,
        full_url=full_url,
        if_match=required_version(service, request),
        criteria=request.query,
    )


def required_version(service: Service, request: Request) -> int | None:
    """Return the version of If-Match; raise Precondition where a setting requires one and there is none."""
    refuse_conditions(request, "if-none-exist", "if-none-match")
    version = if_match(request)
    if version is None and service.limits.if_match_required and "if-match" not in request.headers:
        raise Precondition('this server requires If-Match on updates: send If-Match: W/"<version>"')
    return version


def _given_id(body: bytes) -> str | None:
    """Return the id in a body; one that is no resource is told so when it is checked."""
    try:
        return text_member(members_of(body), "id")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
