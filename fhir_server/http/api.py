"""What the routes of the clinic's API, /{tenant}/api/…, have in common: how they tell failures."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from conformance.issue import error, outcome
from fhir_server.errors import FhirError, Invalid
from fhir_server.http.wire import failure_headers


def tell_failures(app: FastAPI) -> None:
    """Answer every FhirError with its status and an OperationOutcome, as the FHIR door does."""

    @app.exception_handler(FhirError)
    async def failed(_: Request, problem: FhirError) -> Response:
        headers = failure_headers(problem)
        return Response(outcome(problem.issues), problem.status, headers, media_type="application/fhir+json")

    @app.exception_handler(RequestValidationError)
    async def refused(request: Request, problem: RequestValidationError) -> Response:
        # Where and why, never what: it may be of a patient.
        issues = [error("invalid", one["msg"], ".".join(map(str, one["loc"]))) for one in problem.errors()]
        return await failed(request, Invalid(issues))
