"""The operator page, /console: server-rendered, without a script. Only this machine may open it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources
from ipaddress import ip_address

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from fhir_server.console.views import Overview
from fhir_server.errors import NotFound

Look = Callable[[], Awaitable[Overview]]
_POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_HEADERS = {"content-security-policy": _POLICY, "cache-control": "no-store", "x-content-type-options": "nosniff"}
_STATIC = {"console.css": "text/css", "keys.js": "text/javascript"}
_KEPT = {"cache-control": "max-age=3600", "x-content-type-options": "nosniff"}
# A proxy on this machine would make every visitor look local.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def routes(look: Look) -> APIRouter:
    """Return the routes of the operator page."""
    templates = Environment(
        loader=PackageLoader("fhir_server.console"), autoescape=True, undefined=StrictUndefined, enable_async=True
    )
    static = resources.files("fhir_server.console").joinpath("static")
    files = {name: static.joinpath(name).read_text() for name in _STATIC}
    router = APIRouter(include_in_schema=False)

    @router.get("/console")
    async def console(request: Request) -> Response:
        if not is_local(request):
            page = await templates.get_template("elsewhere.html").render_async()
            return HTMLResponse(page, 403, _HEADERS)
        page = await templates.get_template("overview.html").render_async(page=await look())
        return HTMLResponse(page, headers=_HEADERS)

    @router.get("/console/{name}")
    async def file(name: str) -> Response:
        if name not in files:
            raise NotFound("there is no such file")
        return Response(files[name], media_type=_STATIC[name], headers=_KEPT)

    return router


def is_local(request: Request) -> bool:
    """Tell whether the request comes straight from this machine."""
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    return ip_address(request.client.host).is_loopback
