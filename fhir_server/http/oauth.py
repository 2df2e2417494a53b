"""The authorization server of a tenant, /{tenant}/oauth/…: the token endpoint and the keys that verify its tokens.

https://www.rfc-editor.org/rfc/rfc6749#section-5 · https://www.rfc-editor.org/rfc/rfc7517#section-5
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from fhir_server.context import Tenant
from fhir_server.errors import NotFound
from fhir_server.smart.issuing import Issuer
from fhir_server.smart.refusal import Refusal
from fhir_server.store import keys

_FORM = "application/x-www-form-urlencoded"
_LARGEST = 64 * 1024
_MOST_FIELDS = 50
_NOT_KEPT = {"cache-control": "no-store", "pragma": "no-cache"}

TenantOf = Callable[[str], Awaitable[Tenant | None]]


def routes(issuer: Issuer, tenant_of: TenantOf) -> APIRouter:
    """Return the routes; `tenant_of` finds a tenant by the name in the address."""
    router = APIRouter(prefix="/{tenant}/oauth", tags=["oauth"])

    async def known(name: str) -> Tenant:
        found = await tenant_of(name)
        if found is None:
            raise NotFound(f"there is no tenant {name[:80]!r} here")
        return found

    @router.post("/token")
    async def token(tenant: str, request: Request) -> Response:
        """Give an access token to a backend service for its signed assertion."""
        found = await known(tenant)
        try:
            form = await _form(request)
            grant_type = form.get("grant_type")
            if grant_type is None:
                raise Refusal("invalid_request", "grant_type is needed: client_credentials")
            if grant_type != "client_credentials":
                raise Refusal("unsupported_grant_type", "this server gives tokens for client_credentials")
            given = await issuer.client_credentials(found, form)
        except Refusal as refusal:
            told = {"error": refusal.code, "error_description": refusal.description}
            return JSONResponse(told, refusal.status, _NOT_KEPT)
        return JSONResponse(given, 200, _NOT_KEPT)

    @router.get("/jwks")
    async def jwks(tenant: str) -> Response:
        """Publish the keys that verify this tenant's tokens, those that sign no more included."""
        found = await known(tenant)
        public = {"keys": await keys.public(issuer.db, found.id)}
        return JSONResponse(public, 200, {"cache-control": "max-age=300", "access-control-allow-origin": "*"})

    return router


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a form; raise Refusal for another kind of body, one too large, or a field that repeats."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise Refusal("invalid_request", f"the body of a token request is {_FORM}")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST:
            raise Refusal("invalid_request", f"a token request has at most {_LARGEST} bytes")
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError as problem:
        raise Refusal("invalid_request", "the form cannot be read") from problem
    form = dict(fields)
    if len(form) < len(fields):
        raise Refusal("invalid_request", "a field of the form stands there twice")
    return form
