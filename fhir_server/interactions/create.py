"""create: a new resource with an id of the server's, or none where one is found. http://hl7.org/fhir/R4/http.html#create"""

from __future__ import annotations

from urllib.parse import parse_qsl

from fhir_server.context import Context
from fhir_server.errors import Invalid
from fhir_server.interactions import answer
from fhir_server.interactions.content import shown
from fhir_server.interactions.draft import Query, Save
from fhir_server.interactions.message import Request, Response, refuse_conditions
from fhir_server.interactions.service import Service
from fhir_server.interactions.write import commit


async def create(service: Service, ctx: Context, request: Request) -> Response:
    """Store the body as a new resource; an id in it is ignored, as the specification says.

    With If-None-Exist nothing is stored where the criteria find one resource, which is then the answer.
    """
    (result,) = await commit(service, ctx, [create_of(request)])
    return answer.saved(ctx, request, await shown(service, ctx, result))


def create_of(request: Request, path: str = "", full_url: str | None = None) -> Save:
    """Return the Save for a POST of a resource."""
    (resource_type,) = request.path
    refuse_conditions(request, "if-match", "if-none-match")
    criteria = _criteria(request, path or "http.If-None-Exist")
    return Save(
        type=resource_type,
        action="create",
        resource=request.body,
        path=path,
        full_url=full_url,
        criteria=criteria,
    )


def _criteria(request: Request, path: str) -> Query | None:
    """Return the criteria of If-None-Exist, which stand there with or without `Type?`, or of the address.

    Clients of servers that were before the header write `POST Type?criteria`; to ignore that would make duplicates.
    """
    given = request.headers.get("if-none-exist")
    if given is None:
        return request.query or None
    if request.query:
        raise Invalid("criteria stand in If-None-Exist or in the address, not in both", path)
    kind, mark, query = given.strip().partition("?")
    if mark and kind not in ("", request.path[0]):
        raise Invalid(f"If-None-Exist asks for {kind[:80]}, but a {request.path[0]} is created", path)
    found = parse_qsl(query if mark else kind, keep_blank_values=True)
    if not found:
        raise Invalid("If-None-Exist needs criteria such as identifier=system|value", path)
    return found
