"""Access tokens: JWTs signed with the tenant's key, verified once and then remembered until they expire.

https://www.rfc-editor.org/rfc/rfc9068 · https://hl7.org/fhir/smart-app-launch/
"""

from __future__ import annotations

import math
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.jws import extract_compact

from fhir_server.context import Grant, Tenant
from fhir_server.errors import Forbidden, Unauthorized
from fhir_server.smart.scopes import parse_scopes
from fhir_server.store.keys import SigningKey
from fhir_server.store.standing import Standing

ALGORITHM = "ES256"
_CACHED = 10_000
_LONGEST = 16_384

KeyOf = Callable[[str], Awaitable[SigningKey | None]]
# Of tenant, subject, client, oauth_grant, signing key and moment.
StandingOf = Callable[[int, str, str, str | None, str | None, datetime], Awaitable[Standing]]


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
    encounter: str | None = None,
    grant_id: str | None = None,
    jti: str | None = None,
    lifetime: timedelta = timedelta(hours=1),
) -> str:
    """Return a signed access token whose issuer and audience are the tenant's FHIR base.

    `subject` is the `sub` of a person who acts, or the client itself; `grant_id` is that of the oauth_grant.
    """
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
        "jti": jti or str(uuid.uuid4()),
    }
    claims |= {
        name: value
        for name, value in (("patient", patient), ("encounter", encounter), ("grant", grant_id))
        if value is not None
    }
    return jwt.encode({"alg": ALGORITHM, "kid": key.kid, "typ": "at+jwt"}, claims, ECKey.import_key(key.jwk))


class Verified(msgspec.Struct):
    """A token whose signature holds; `grant` is what it gives as of `looked`, the last look at how it stands."""

    expires: float
    audience: str
    grant: Grant
    looked: float = -math.inf


class Verifier:
    """Turns a bearer token into a Grant.

    A signature that was verified is not verified again before the token expires. Whether the token still stands, and
    what its person is in the clinic, is looked up anew every `patience` seconds at the latest.
    """

    def __init__(self, key_of: KeyOf, standing_of: StandingOf, patience: float = 1.0) -> None:
        self._key_of = key_of
        self._standing_of = standing_of
        self._patience = patience
        self._seen: OrderedDict[str, Verified] = OrderedDict()

    def forget(self) -> None:
        """Look up anew how every token stands: to be called where one was revoked."""
        for known in self._seen.values():
            known.looked = -math.inf

    async def grant(self, token: str, tenant: Tenant, base: str, now: datetime) -> Grant:
        """Return the grant of `token` at the tenant's base.

        Raises Unauthorized for a token that is malformed, forged, expired or revoked, Forbidden for another tenant's.
        """
        known = self._seen.get(token)
        if known is None:
            known = await self._verify(token)
            self._remember(token, known)
        moment = now.timestamp()
        if known.expires <= moment:
            raise Unauthorized("the token has expired")
        if known.grant.tenant.name != tenant.name or known.grant.tenant.id != tenant.id:
            raise Forbidden("the token belongs to another tenant")
        if known.audience != base:
            raise Unauthorized("the token was issued for another address")
        if not known.looked <= moment < known.looked + self._patience:
            await self._look(known, now)
        return known.grant

    async def claims(self, token: str, tenant: Tenant, base: str, now: datetime) -> dict[str, Any]:
        """Return what a token says, as long as it is good for anything; raise as `grant`."""
        await self.grant(token, tenant, base, now)
        return dict(msgspec.json.decode(extract_compact(token.encode()).payload))

    async def signed(self, token: str) -> Grant:
        """Return what a token of ours was given for, expired or not; raise Unauthorized for a forged one."""
        return (self._seen.get(token) or await self._verify(token)).grant

    async def still(self, grant: Grant, now: datetime) -> Grant:
        """Return a grant of before as it stands now; raise Unauthorized where it was revoked meanwhile."""
        standing = await self._standing_of(grant.tenant.id, grant.subject, grant.client, grant.id, grant.key, now)
        if standing.fallen is not None:
            raise Unauthorized(standing.fallen)
        return msgspec.structs.replace(
            grant, member=standing.member, purpose=standing.purpose, consents=standing.consents
        )

    async def _look(self, known: Verified, now: datetime) -> None:
        known.grant = await self.still(known.grant, now)
        known.looked = now.timestamp()

    def _remember(self, token: str, known: Verified) -> None:
        self._seen[token] = known
        if len(self._seen) > _CACHED:
            self._seen.popitem(last=False)

    async def _verify(self, token: str) -> Verified:
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


def _checked(claims: dict[str, Any], key: SigningKey) -> Verified:
    """Return what verified claims say; raise Unauthorized where one is missing or odd."""
    texts = [claims.get(name) for name in ("iss", "aud", "sub", "client_id", "tenant", "scope", "jti")]
    options = [claims.get(name) for name in ("patient", "encounter", "grant")]
    expires = claims.get("exp")
    if not all(isinstance(t, str) for t in texts) or not isinstance(expires, int) or isinstance(expires, bool):
        raise Unauthorized("the token lacks a claim")
    if claims["iss"] != claims["aud"] or not all(o is None or isinstance(o, str) for o in options):
        raise Unauthorized("the token's claims do not agree")
    tenant = Tenant(key.tenant_id, claims["tenant"])
    patient, encounter, grant_id = options
    scopes = parse_scopes(claims["scope"])
    acts = claims["sub"], claims["client_id"]
    grant = Grant(tenant, *acts, scopes, patient, encounter, id=grant_id, jti=claims["jti"], key=key.kid)
    return Verified(float(expires), claims["aud"], grant)
