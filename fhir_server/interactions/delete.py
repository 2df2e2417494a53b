"""delete: the resource is gone, its history stays. http://hl7.org/fhir/R4/http.html#delete"""

from __future__ import annotations

from fhir_server.context import Context
from fhir_server.errors import Invalid
from fhir_server.interactions.answer import versioned
from fhir_server.interactions.draft import Save
from fhir_server.interactions.message import Request, Response, if_match, refuse_conditions, refuse_query, require_id
from fhir_server.interactions.service import Service
from fhir_server.interactions.write import commit


async def delete(service: Service, ctx: Context, request: Request) -> Response:
    """Delete the resource; deleting what is not there succeeds as well."""
    (result,) = await commit(service, ctx, [delete_of(service, request)])
    return Response(204, b"", versioned(result.version, result.updated) if result.changed else {})


def delete_of(service: Service, request: Request, path: str = "") -> Save:
    """Return the Save for a DELETE of `Type/id`, or of what `Type?criteria` finds."""
    refuse_conditions(request, "if-none-exist", "if-none-match")
    if len(request.path) == 2:
        resource_type, resource_id = request.path
        require_id(resource_id, path or resource_type)
        refuse_query(request, path)
        return Save(type=resource_type, action="delete", id=resource_id, path=path, if_match=if_match(request))
    (resource_type,) = request.path
    if "if-match" in request.headers:
        raise Invalid("If-Match names a version of one resource: a conditional delete takes none", path)
    most = _most(service, request, path)
    return Save(type=resource_type, action="delete", path=path, criteria=request.query, most=most)


def _most(service: Service, request: Request, path: str) -> int:
    """Return how many may be deleted: the setting, or fewer where `_count` says so."""
    most = service.limits.conditional_delete
    for name, value in request.query:
        if name == "_count":
            if not (value.isascii() and value.isdigit() and 0 < len(value) < 10 and int(value)):
                raise Invalid(f"_count must be a whole number above 0, not {value[:40]!r}", path or "http._count")
            most = min(most, int(value))
    return most
