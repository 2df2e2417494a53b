"""The gate before all doors: how often one may come, and the headers that every answer carries.

https://www.rfc-editor.org/rfc/rfc6585#section-4 · https://owasp.org/www-project-secure-headers/
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter

from fhir_server.context import Grant
from fhir_server.errors import TooMany
from fhir_server.http.peers import Peers, household
from fhir_server.http.rates import Rate
from fhir_server.http.wire import Scope, Send

_log = structlog.get_logger()
# What a door does not say otherwise. A record is nobody's to frame, sniff, refer to or keep.
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
# A flood is told once in so many seconds.
_TELL_EVERY = 60.0


class Gate:
    """Counts by address, client and user; `ticks` is the time in seconds, `hsts` how long browsers keep to https."""

    def __init__(
        self,
        peers: Peers,
        *,
        address: Rate,
        client: Rate,
        user: Rate,
        refusals: Rate,
        ticks: Callable[[], float],
        hsts: int,
        figures: CollectorRegistry,
    ) -> None:
        self.peers = peers
        self._address, self._client, self._user, self._refusals = address, client, user, refusals
        self._ticks = ticks
        stays = (b"strict-transport-security", b"max-age=%d" % hsts)
        self._headers = (*HEADERS, stays) if hsts else HEADERS
        self._turned_away = Counter(
            "concord_turned_away", "Requests answered 429, by what they were too many of.", ["of"], registry=figures
        )
        self._told = float("-inf")

    def knock(self, scope: Scope) -> str:
        """Count a request and return what it counts for; raise TooMany where its address sent too many, or bad ones."""
        where, now = household(self.peers.address(scope)), self._ticks()
        if wait := self._refusals.wait(where, now):
            raise self._too_many("this address without a good token", "refusals", wait, now)
        if wait := self._address.take(where, now):
            raise self._too_many("this address", "address", wait, now)
        return where

    def require(self, grant: Grant, now: float) -> None:
        """Count a request with a good token; raise TooMany where its client or its user sent too many."""
        if wait := self._client.take((grant.tenant.id, grant.client), now):
            raise self._too_many("this client", "client", wait, now)
        if grant.subject != grant.client and (wait := self._user.take((grant.tenant.id, grant.subject), now)):
            raise self._too_many("this user", "user", wait, now)

    def watched(self, where: str, scope: Scope, send: Send) -> Send:
        """Return a `send` that completes the headers of an answer and counts it where it is a refusal."""

        async def complete(event: Any) -> None:
            if event["type"] == "http.response.start":
                status = event["status"]
                if status == 401 or (status == 400 and scope["raw_path"].endswith(b"/oauth/token")):
                    self._refusals.take(where, self._ticks())
                event["headers"] = self.completed(event.get("headers", ()))
            await send(event)

        return complete

    def completed(self, given: Any) -> list[tuple[bytes, bytes]]:
        """Return headers with those that every answer carries; what a door says itself stands."""
        headers = list(given)
        known = {name for name, _ in headers}
        headers += [pair for pair in self._headers if pair[0] not in known]
        return headers

    def _too_many(self, whose: str, kind: str, wait: float, now: float) -> TooMany:
        self._turned_away.labels(kind).inc()
        if now - self._told > _TELL_EVERY:
            self._told = now
            _log.warning("requests are turned away", of=kind, told_again_after=_TELL_EVERY)
        return TooMany(whose, wait)
