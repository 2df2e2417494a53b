"""The authorization server of a tenant as programs see it, /{tenant}/oauth/…: tokens, keys, style.

https://www.rfc-editor.org/rfc/rfc6749#section-5 · https://www.rfc-editor.org/rfc/rfc7517#section-5
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from fhir_server.context import Tenant
from fhir_server.errors import NotFound
from fhir_server.limits import read_up_to
from fhir_server.smart.introspection import Introspection
from fhir_server.smart.issuing import Issuer
from fhir_server.smart.refusal import Refusal
from fhir_server.store import keys

_FORM = "application/x-www-form-urlencoded"
_LARGEST = 64 * 1024
_MOST_FIELDS = 50
_NOT_KEPT = {"cache-control": "no-store", "pragma": "no-cache"}
_CHALLENGES = {"basic": 'Basic realm="Concord"', "bearer": 'Bearer error="{}"'}
_PUBLIC = {"cache-control": "max-age=300", "access-control-allow-origin": "*"}
# https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html#styling: the colours of our own pages.
_STYLE = {
    "color_background": "#fbfbf9",
    "color_error": "#b3402f",
    "color_highlight": "#235a97",
    "color_modal_backdrop": "",
    "color_success": "#2f7d5b",
    "color_text": "#1c2733",
    "dim_border_radius": "5px",
    "dim_font_size": "16px",
    "dim_spacing_size": "16px",
    "font_family_body": "system-ui, sans-serif",
    "font_family_heading": "system-ui, sans-serif",
}

TenantOf = Callable[[str], Awaitable[Tenant | None]]


def routes(issuer: Issuer, introspection: Introspection, tenant_of: TenantOf) -> APIRouter:
    """Return the routes; `tenant_of` finds a tenant by the name in the address."""
    router = APIRouter(prefix="/{tenant}/oauth", tags=["oauth"])

    async def known(name: str) -> Tenant:
        found = await tenant_of(name)
        if found is None:
            raise NotFound(f"there is no tenant {name[:80]!r} here")
        return found

    @router.post("/token")
    async def token(tenant: str, request: Request) -> Response:
        """Give an access token for a code, a refresh token, or, to a backend service, for its signed assertion."""
        found = await known(tenant)
        authorization = request.headers.get("authorization", "")
        try:
            return JSONResponse(await issuer.token(found, authorization, await form_of(request)), 200, _NOT_KEPT)
        except Refusal as refusal:
            return refused(refusal, authorization)

    @router.post("/introspect")
    async def introspect(tenant: str, request: Request) -> Response:
        """Tell what a token is good for, to a client that may know."""
        found = await known(tenant)
        authorization = request.headers.get("authorization", "")
        try:
            said = await introspection.introspect(found, authorization, await form_of(request))
        except Refusal as refusal:
            return refused(refusal, authorization)
        return JSONResponse(dict(said), 200, _NOT_KEPT)

    @router.post("/revoke")
    async def revoke(tenant: str, request: Request) -> Response:
        """End a token, and all others of the same grant."""
        found = await known(tenant)
        authorization = request.headers.get("authorization", "")
        try:
            await introspection.revoke(found, authorization, await form_of(request))
        except Refusal as refusal:
            return refused(refusal, authorization)
        return Response(status_code=200, headers=_NOT_KEPT)

    @router.get("/jwks")
    async def jwks(tenant: str) -> Response:
        """Publish the keys that verify this tenant's tokens, those that sign no more included."""
        found = await known(tenant)
        return JSONResponse({"keys": await keys.public(issuer.db, found.id)}, 200, _PUBLIC)

    @router.get("/style.json")
    async def style(tenant: str) -> Response:
        """Publish how apps may look to fit in: smart_style_url."""
        await known(tenant)
        return JSONResponse(_STYLE, 200, _PUBLIC)

    return router


def refused(refusal: Refusal, authorization: str) -> Response:
    """Return a refusal as OAuth has it; who tried the Authorization header is told how, as HTTP asks."""
    told = {"error": refusal.code, "error_description": refusal.description}
    headers = dict(_NOT_KEPT)
    kind = authorization.partition(" ")[0].lower()
    if refusal.status in (401, 403) and kind in _CHALLENGES:
        headers["www-authenticate"] = _CHALLENGES[kind].format(refusal.code)
    return JSONResponse(told, refusal.status, headers)


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form; raise Refusal for another kind of body, one too large, or a field that repeats."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise Refusal("invalid_request", f"the body of this request is {_FORM}")
    try:
        body = await read_up_to(request.stream(), _LARGEST)
        fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError as problem:
        raise Refusal("invalid_request", f"the form cannot be read, or has more than {_LARGEST} bytes") from problem
    form = dict(fields)
    if len(form) < len(fields):
        raise Refusal("invalid_request", "a field of the form stands there twice")
    return form
