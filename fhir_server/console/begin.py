"""Where an app sends a browser to: its request is checked, then the person is asked, or the app is told why not.

https://www.rfc-editor.org/rfc/rfc6749#section-3.1
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from fhir_server.console.desk import Desk
from fhir_server.context import Tenant
from fhir_server.limits import read_up_to
from fhir_server.smart.asking import Fields
from fhir_server.smart.authorize import Authorization
from fhir_server.smart.refusal import Refusal

TenantOf = Callable[[str], Awaitable[Tenant]]
_FORM = "application/x-www-form-urlencoded"
_LARGEST = 64 * 1024
_MOST_FIELDS = 50
# The address of the app's page and what stands in ours are nobody else's business.
_HEADERS = {"cache-control": "no-store", "referrer-policy": "no-referrer"}


def routes(desk: Desk, authorization: Authorization, tenant_of: TenantOf) -> APIRouter:
    """Return the route, by GET and by POST of a form; `tenant_of` finds a clinic by its name or raises NotFound."""
    router = APIRouter(include_in_schema=False)

    async def begin(request: Request, tenant: str) -> Response:
        found = await tenant_of(tenant)
        try:
            location = await authorization.begin(found, await _fields(request))
        except Refusal as refusal:
            text = f"{refusal.description[:1].upper()}{refusal.description[1:]}."
            raise await desk.refused(request, text, 400) from refusal
        return RedirectResponse(location, 303, _HEADERS)

    router.add_api_route("/{tenant}/oauth/authorize", begin, methods=["GET", "POST"])
    return router


async def _fields(request: Request) -> Fields:
    """Return the fields of the address, or of the form; raise Refusal for what cannot be read."""
    posted = request.method == "POST"
    if posted and request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise Refusal("invalid_request", f"the body of this request is {_FORM}")
    try:
        text = (await read_up_to(request.stream(), _LARGEST)).decode() if posted else request.url.query
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError as problem:
        raise Refusal("invalid_request", f"the request cannot be read, or has more than {_LARGEST} bytes") from problem
