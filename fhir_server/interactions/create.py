"""create: a new resource with an id of the server's. http://hl7.org/fhir/R4/http.html#create"""

from __future__ import annotations

from fhir_server.context import Context
from fhir_server.interactions import answer
from fhir_server.interactions.draft import Save
from fhir_server.interactions.message import Request, Response
from fhir_server.interactions.service import Service
from fhir_server.interactions.write import commit


async def create(service: Service, ctx: Context, request: Request) -> Response:
    """Store the body as a new resource; an id in it is ignored, as the specification says."""
    (resource_type,) = request.path
    (result,) = await commit(service, ctx, [Save(type=resource_type, action="create", resource=request.body)])
    return answer.saved(ctx, request, result)
