"""update: a new version, or a new resource under the client's id. http://hl7.org/fhir/R4/http.html#update"""

from __future__ import annotations

import re

from fhir_server.context import Context
from fhir_server.errors import Invalid, Precondition
from fhir_server.interactions import answer
from fhir_server.interactions.draft import Save
from fhir_server.interactions.message import Request, Response, if_match
from fhir_server.interactions.service import Service
from fhir_server.interactions.write import commit

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")


async def update(service: Service, ctx: Context, request: Request) -> Response:
    """Store the body under the id of the address; nothing is written where nothing would change."""
    (result,) = await commit(service, ctx, [update_of(service, request)])
    return answer.saved(ctx, request, result)


def update_of(service: Service, request: Request, path: str = "", full_url: str | None = None) -> Save:
    """Return the Save for a PUT; raise Invalid for an id that FHIR does not allow."""
    resource_type, resource_id = request.path
    if not _ID.match(resource_id):
        raise Invalid(f"'{resource_id[:80]}' is not a FHIR id: 1 to 64 of A-Z a-z 0-9 - .", path or resource_type)
    version = if_match(request)
    if version is None and service.limits.if_match_required and "if-match" not in request.headers:
        raise Precondition('this server requires If-Match on updates: send If-Match: W/"<version>"')
    return Save(
        type=resource_type,
        action="update",
        id=resource_id,
        resource=request.body,
        path=path,
        full_url=full_url,
        if_match=version,
    )
