"""Access tokens: JWTs signed with the tenant's key, verified once and then remembered until they expire.

https://www.rfc-editor.org/rfc/rfc9068 · https://hl7.org/fhir/smart-app-launch/
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.jws import extract_compact

from fhir_server.context import Grant, Tenant
from fhir_server.errors import Forbidden, Unauthorized
from fhir_server.smart.scopes import parse_scopes
from fhir_server.store.keys import SigningKey

ALGORITHM = "ES256"
_CACHED = 10_000
_LONGEST = 16_384

KeyOf = Callable[[str], Awaitable[SigningKey | None]]


def mint(
    key: SigningKey,
    base: str,
    now: datetime,
    *,
    tenant: Tenant,
    scope: str,
    subject: str,
    client: str,
    patient: str | None = None,
    lifetime: timedelta = timedelta(hours=1),
) -> str:
    """Return a signed access token whose issuer and audience are the tenant's FHIR base."""
    issued = int(now.timestamp())
    claims: dict[str, Any] = {
        "iss": base,
        "aud": base,
        "sub": subject,
        "client_id": client,
        "tenant": tenant.name,
        "scope": scope,
        "iat": issued,
        "exp": issued + int(lifetime.total_seconds()),
        "jti": str(uuid.uuid4()),
    }
    if patient:
        claims["patient"] = patient
    return jwt.encode({"alg": ALGORITHM, "kid": key.kid, "typ": "at+jwt"}, claims, ECKey.import_key(key.jwk))


class Verifier:
    """Turns a bearer token into a Grant; a token that was verified is not verified again before it expires."""

    def __init__(self, key_of: KeyOf) -> None:
        self._key_of = key_of
        self._seen: OrderedDict[str, tuple[float, str, Grant]] = OrderedDict()

    async def grant(self, token: str, tenant: Tenant, base: str, now: datetime) -> Grant:
        """Return the grant of `token` at the tenant's base.

        Raises Unauthorized for a token that is malformed, forged or expired, Forbidden for another tenant's.
        """
        known = self._seen.get(token)
        if known is None:
            known = await self._verify(token)
            self._remember(token, known)
        expires, audience, grant = known
        if expires <= now.timestamp():
            raise Unauthorized("the token has expired")
        if grant.tenant.name != tenant.name or grant.tenant.id != tenant.id:
            raise Forbidden("the token belongs to another tenant")
        if audience != base:
            raise Unauthorized("the token was issued for another address")
        return grant

    def _remember(self, token: str, known: tuple[float, str, Grant]) -> None:
        self._seen[token] = known
        if len(self._seen) > _CACHED:
            self._seen.popitem(last=False)

    async def _verify(self, token: str) -> tuple[float, str, Grant]:
        if len(token) > _LONGEST:
            raise Unauthorized("the token is too long")
        try:
            key = await self._key(token)
            decoded = jwt.decode(token, ECKey.import_key(key.jwk), algorithms=[ALGORITHM])
        except (JoseError, ValueError, TypeError, KeyError) as problem:
            raise Unauthorized("the token cannot be verified") from problem
        return _checked(decoded.claims, key)

    async def _key(self, token: str) -> SigningKey:
        header = extract_compact(token.encode()).headers()
        kid = header.get("kid")
        # Nothing of the token but its key id may choose the key: an embedded jwk or jku is never looked at.
        key = await self._key_of(kid) if isinstance(kid, str) else None
        if key is None or set(header) - {"alg", "kid", "typ"}:
            raise ValueError("unknown key")
        return key


def _checked(claims: dict[str, Any], key: SigningKey) -> tuple[float, str, Grant]:
    """Return expiry, audience and grant of verified claims; raise Unauthorized where one is missing or odd."""
    texts = [claims.get(name) for name in ("iss", "aud", "sub", "client_id", "tenant", "scope", "jti")]
    expires, patient = claims.get("exp"), claims.get("patient")
    if not all(isinstance(t, str) for t in texts) or not isinstance(expires, int) or isinstance(expires, bool):
        raise Unauthorized("the token lacks a claim")
    if claims["iss"] != claims["aud"] or not (patient is None or isinstance(patient, str)):
        raise Unauthorized("the token's claims do not agree")
    tenant = Tenant(key.tenant_id, claims["tenant"])
    grant = Grant(tenant, claims["sub"], claims["client_id"], parse_scopes(claims["scope"]), patient)
    return float(expires), claims["aud"], grant
