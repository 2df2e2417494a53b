"""$docref: the documents of a patient. http://hl7.org/fhir/us/core/OperationDefinition-docref.html

Nothing is generated on demand here: who asks for such documents alone gets an empty answer, as the definition says.
"""

from __future__ import annotations

import msgspec

from fhir_server.context import Context
from fhir_server.errors import Invalid
from fhir_server.interactions import latest
from fhir_server.interactions.bundle import bundle, link
from fhir_server.interactions.latest import Choice
from fhir_server.interactions.message import Request, Response, require_id
from fhir_server.interactions.parameters import Given, beginning, boolean
from fhir_server.interactions.search import search
from fhir_server.interactions.service import Service
from fhir_server.smart.policy import visible

_TYPE = "DocumentReference"
# Summary of episode note: the C-CDA's Continuity of Care Document.
_CCD = "http://loinc.org|34133-9"


async def docref(service: Service, ctx: Context, request: Request) -> Response:
    """Return the current documents of a period of care, in pages, or where no date is given the latest one.

    Without a type and without a date that is the summary of care (CCD).
    """
    given = Given(request, ("patient", "start", "end", "type", "on-demand"))
    patient = given.one("patient", str) or ctx.grant.patient
    if patient is None:
        raise Invalid("$docref needs a patient", "http.patient")
    patient = patient.removeprefix("Patient/")
    require_id(patient, "http.patient")
    for name in ("start", "end"):
        given.one(name, beginning)
    if given.one("on-demand", boolean):
        visible(ctx, service.rules, _TYPE, "s")
        own = link("self", f"{ctx.base}/{'/'.join(request.path)}", [*given.pairs, *request.look])
        return Response(200, bundle("searchset", (), [own], ctx.now, 0))
    bounds = [
        ("period", f"{prefix}{day}") for name, prefix in (("start", "ge"), ("end", "le")) for day in given.all(name)
    ]
    types = given.all("type") or ([] if bounds else [_CCD])
    query = [("patient", f"Patient/{patient}"), ("status", "current"), *bounds]
    query += [("type", ",".join(types))] if types else []
    if bounds:
        # Links name the search that this is, so that pages go on as any search does.
        inside = msgspec.structs.replace(request, method="GET", path=(_TYPE,), query=query, body=b"")
        return await search(service, ctx, inside)
    choice = Choice(_TYPE, query, "date", "date")
    return await latest.answer(service, ctx, request, choice, lambda found: found[:1], given.pairs)
