"""How we prove to a FHIR server of others who we are: not at all, by a password, by a token, or by a private key.

https://hl7.org/fhir/smart-app-launch/backend-services.html
https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from adapters.fhir_answers import Final, Result, Retry, failure, member, told
from adapters.web import Failed, Guarded, Refused, Web, origin

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# Five minutes are what the specification allows, and clocks differ.
_ASSERTED = timedelta(minutes=4)
# A token without expires_in is trusted for as long as a short-lived one of SMART lives.
_UNSAID = 300.0
# A token is not used in its last seconds: the request is still under way when it would expire.
_MARGIN = 30.0
_WELL_KNOWN = "/.well-known/smart-configuration"
_FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
# https://www.rfc-editor.org/rfc/rfc6749#section-5.2
_ERRORS = frozenset(
    (
        *("invalid_request", "invalid_client", "invalid_grant"),
        *("invalid_scope", "unauthorized_client", "unsupported_grant_type"),
    )
)


class _Token(NamedTuple):
    header: str
    until: datetime


class SignIn(Protocol):
    """Gives the headers that go with a request."""

    async def headers(self, web: Web, through: Guarded, base: str, now: datetime) -> dict[str, str] | Retry | Final:
        """Return the headers, or why there are none."""

    def refused(self, sent: Mapping[str, str]) -> bool:
        """Note that the server answered 401 to these headers; tell whether asking anew could help."""


@dataclass(frozen=True)
class Nobody:
    """Sends no credentials."""

    async def headers(self, web: Web, through: Guarded, base: str, now: datetime) -> dict[str, str] | Retry | Final:
        """Return no headers."""
        return {}

    def refused(self, sent: Mapping[str, str]) -> bool:
        """Nothing would change."""
        return False


@dataclass(frozen=True)
class Basic(Nobody):
    """A name and a password. https://www.rfc-editor.org/rfc/rfc7617"""

    user: str
    password: str = field(repr=False)

    async def headers(self, web: Web, through: Guarded, base: str, now: datetime) -> dict[str, str] | Retry | Final:
        """Return them as the scheme has them."""
        packed = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"authorization": f"Basic {packed}"}


@dataclass(frozen=True)
class Bearer(Nobody):
    """A token that was given to us. https://www.rfc-editor.org/rfc/rfc6750"""

    token: str = field(repr=False)

    async def headers(self, web: Web, through: Guarded, base: str, now: datetime) -> dict[str, str] | Retry | Final:
        """Return the token."""
        return {"authorization": f"Bearer {self.token}"}


class BackendService:
    """Gets tokens as a backend service of SMART, and keeps one until shortly before it expires.

    `key` is a private JSON Web Key with its `kid`: of the curve P-384 (ES384), or RSA (RS384). Raises ValueError for
    another. `token_url` None asks the server's own SMART configuration, which may name its own origin alone: it would
    otherwise get tokens of another server, got with our key.
    """

    def __init__(
        self, client_id: str, key: Mapping[str, Any], scope: str, token_url: str | None = None, jku: str | None = None
    ) -> None:
        self._client_id = client_id
        self._algorithm, self._key = _imported(key)
        self._kid = str(key["kid"])
        self._scope = scope
        self._token_url = token_url
        self._jku = jku
        self._asking = asyncio.Lock()
        self._kept: _Token | None = None

    async def headers(self, web: Web, through: Guarded, base: str, now: datetime) -> dict[str, str] | Retry | Final:
        """Return the kept token, or a new one; who asks while one is fetched gets the same."""
        async with self._asking:
            if self._kept is None or self._kept.until <= now:
                asked = await self._fetched(web, through, base, now)
                if not isinstance(asked, _Token):
                    return asked
                self._kept = asked
            return {"authorization": self._kept.header}

    def refused(self, sent: Mapping[str, str]) -> bool:
        """Forget the token that was refused, unless another request has got a new one meanwhile."""
        if self._kept is not None and sent.get("authorization") == self._kept.header:
            self._kept = None
        return True

    async def _fetched(self, web: Web, through: Guarded, base: str, now: datetime) -> _Token | Retry | Final:
        place = self._token_url or await _discovered(web, through, base, now)
        if not isinstance(place, str):
            return place
        form = {
            "grant_type": "client_credentials",
            "scope": self._scope,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._assertion(place, now),
        }
        asked = await _sent(web, through, now, "POST", place, _FORM, urlencode(form).encode())
        return _token(asked, now)

    def _assertion(self, audience: str, now: datetime) -> str:
        header = {"alg": self._algorithm, "kid": self._kid, "typ": "JWT"}
        if self._jku is not None:
            header["jku"] = self._jku
        claims: dict[str, Any] = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": audience,
            "jti": secrets.token_urlsafe(24),
            "iat": int(now.timestamp()),
            "exp": int((now + _ASSERTED).timestamp()),
        }
        return jwt.encode(header, claims, self._key, algorithms=[self._algorithm])


def _token(asked: Result, now: datetime) -> _Token | Retry | Final:
    if isinstance(asked, Retry):
        return asked._replace(reason=f"no token: {asked.reason}", outcome=b"")
    if isinstance(asked, Final):
        error = member(asked.outcome, "error")
        why = error if isinstance(error, str) and error in _ERRORS else asked.reason
        return Final(f"no token: {why}", asked.status)
    token, lasts = member(asked.body, "access_token"), member(asked.body, "expires_in")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
        return Final("no token: the token endpoint's answer holds none", asked.status)
    seconds = float(lasts) if isinstance(lasts, int | float) and not isinstance(lasts, bool) else _UNSAID
    kept = max(seconds - _MARGIN, seconds / 2)
    return _Token(f"Bearer {token}", now + timedelta(seconds=min(max(kept, 0.0), 86_400.0)))


async def _discovered(web: Web, through: Guarded, base: str, now: datetime) -> str | Retry | Final:
    asked = await _sent(web, through, now, "GET", base + _WELL_KNOWN, {"accept": "application/json"})
    if isinstance(asked, Retry):
        return asked._replace(reason=f"no SMART configuration: {asked.reason}", outcome=b"")
    if isinstance(asked, Final):
        return Final(f"no SMART configuration: {asked.reason}", asked.status)
    place = member(asked.body, "token_endpoint")
    try:
        if isinstance(place, str) and origin(place) == origin(base):
            return place
    except Refused:
        return Final("the SMART configuration's token endpoint is no address")
    return Final("the SMART configuration names no token endpoint of the server's own origin: name it in `token_url`")


async def _sent(
    web: Web, through: Guarded, now: datetime, method: str, url: str, headers: Mapping[str, str], content: bytes = b""
) -> Result:
    try:
        return told(await web.once(through, method, url, headers, content), now)
    except (Refused, Failed) as problem:
        return failure(problem)


def _imported(key: Mapping[str, Any]) -> tuple[str, ECKey | RSAKey]:
    if not isinstance(key.get("kid"), str) or not key["kid"]:
        raise ValueError("a private key for assertions has a kid")
    if "d" not in key:
        raise ValueError("a private key is needed, this is a public one")
    try:
        if key.get("kty") == "RSA":
            return "RS384", RSAKey.import_key(dict(key))
        if key.get("kty") == "EC" and key.get("crv") == "P-384":
            return "ES384", ECKey.import_key(dict(key))
    except (JoseError, ValueError, TypeError, KeyError):
        raise ValueError("the private key cannot be read") from None
    raise ValueError("a private key for assertions is RSA, or EC of the curve P-384")
