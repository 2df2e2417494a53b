"""Which web pages may call from a browser: any what is published, those of registered apps the API and their tokens.

https://fetch.spec.whatwg.org/#http-cors-protocol · https://hl7.org/fhir/smart-app-launch/app-launch.html#considerations-for-cross-origin-resource-sharing-cors-support
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fhir_server.context import Tenant
from fhir_server.http.wire import Receive, Scope, Send

App = Callable[[Scope, Receive, Send], Awaitable[None]]
_KEPT = 5.0
_MOST = 1000
_LONGEST = 300
_OPEN = ((b"fhir", b"metadata"), (b"fhir", b".well-known"), (b"oauth", b"jwks"), (b"oauth", b"style.json"))
_OF_APPS = (b"token", b"revoke", b"introspect")
_ALLOWED = (
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, accept, prefer, if-match, if-none-match, if-modified-since, if-none-exist,"
        b" x-request-id, cache-control, pragma",
    ),
    (b"access-control-max-age", b"600"),
)
_EXPOSED = (
    b"access-control-expose-headers",
    b"etag, location, content-location, last-modified, www-authenticate, retry-after, x-request-id",
)
# Never with credentials: a cookie opens nothing here, and what a token opens its holder sends by itself.
_VARIES = (b"vary", b"origin")


class Cors:
    """Answers what browsers ask before they let a page call, and tells them who may read an answer.

    `origins_of` gives the origins that a tenant's apps are registered with; they are looked up anew after seconds.
    """

    def __init__(
        self,
        tenant_of: Callable[[str], Awaitable[Tenant | None]],
        origins_of: Callable[[int], Awaitable[frozenset[str]]],
        ticks: Callable[[], float],
    ) -> None:
        self._tenant_of, self._origins_of, self._ticks = tenant_of, origins_of, ticks
        self._known: dict[int, tuple[float, frozenset[str]]] = {}

    async def answer(self, scope: Scope, receive: Receive, send: Send, app: App) -> None:
        """Answer a request of a browser, by `app` but for preflights; requests of others pass as they are."""
        origin = _header(scope, b"origin")
        allowed = await self._allowed(scope["raw_path"], origin) if origin is not None else None
        if scope["method"] == "OPTIONS" and _header(scope, b"access-control-request-method") is not None:
            await _preflight(send, allowed)
        elif allowed is None:
            await app(scope, receive, send)
        else:
            await app(scope, receive, _telling(send, allowed))

    async def _allowed(self, path: bytes, origin: bytes) -> bytes | None:
        """Return whom the answer says may read it: everybody, this origin, or None for nobody."""
        parts = path.split(b"/", 4)
        if len(parts) < 4 or parts[0]:
            return None
        place = (parts[2], parts[3])
        if place in _OPEN:
            return b"*"
        of_apps = parts[2] == b"fhir" or (parts[2] == b"oauth" and parts[3] in _OF_APPS and len(parts) == 4)
        return origin if of_apps and await self._is_registered(parts[1], origin) else None

    async def _is_registered(self, name: bytes, origin: bytes) -> bool:
        if len(origin) > _LONGEST or origin == b"null":
            return False
        tenant = await self._tenant_of(name.decode("latin-1"))
        return tenant is not None and origin.decode("latin-1") in await self._origins(tenant.id)

    async def _origins(self, tenant_id: int) -> frozenset[str]:
        now = self._ticks()
        known = self._known.get(tenant_id)
        if known is None or not known[0] <= now < known[0] + _KEPT:
            if len(self._known) >= _MOST:
                self._known.clear()
            known = self._known[tenant_id] = now, await self._origins_of(tenant_id)
        return known[1]


def is_asked(scope: Scope) -> bool:
    """Tell whether a request comes from a page in a browser that will look at who may read the answer."""
    return any(name == b"origin" for name, _ in scope["headers"])


async def _preflight(send: Send, allowed: bytes | None) -> None:
    who = [(b"access-control-allow-origin", allowed), *_ALLOWED] if allowed is not None else []
    headers = [*who, _VARIES, (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 204 if who else 403, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _telling(send: Send, allowed: bytes) -> Send:
    async def telling(event: Any) -> None:
        if event["type"] == "http.response.start":
            given = [pair for pair in event["headers"] if pair[0] != b"access-control-allow-origin"]
            event["headers"] = [*given, (b"access-control-allow-origin", allowed), _EXPOSED, _VARIES]
        await send(event)

    return telling


def _header(scope: Scope, wanted: bytes) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == wanted), None)
