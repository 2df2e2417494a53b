"""delete: the resource is gone, its history stays. http://hl7.org/fhir/R4/http.html#delete"""

from __future__ import annotations

from fhir_server.context import Context
from fhir_server.interactions.answer import versioned
from fhir_server.interactions.draft import Save
from fhir_server.interactions.message import Request, Response, if_match
from fhir_server.interactions.service import Service
from fhir_server.interactions.write import commit


async def delete(service: Service, ctx: Context, request: Request) -> Response:
    """Delete the resource; deleting what is not there succeeds as well."""
    (result,) = await commit(service, ctx, [delete_of(request)])
    return Response(204, b"", versioned(result.version, result.updated) if result.changed else {})


def delete_of(request: Request, path: str = "") -> Save:
    """Return the Save for a DELETE."""
    resource_type, resource_id = request.path
    return Save(type=resource_type, action="delete", id=resource_id, path=path, if_match=if_match(request))
