"""Codes and refresh tokens become access tokens; what is used twice takes all of its grant away.

https://www.rfc-editor.org/rfc/rfc6749#section-4.1.3 · https://www.rfc-editor.org/rfc/rfc9700#section-4.14.2
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec

from fhir_server.context import Tenant, fhir_base, oauth_address
from fhir_server.search.hashing import Hasher
from fhir_server.smart.authentication import Proven
from fhir_server.smart.granting import LAUNCH, REFRESH, shared
from fhir_server.smart.identity import id_token
from fhir_server.smart.pkce import require_verifier
from fhir_server.smart.refusal import Refusal
from fhir_server.smart.tokens import mint
from fhir_server.store import audit, codes, grants, keys, opaque
from fhir_server.store.audit import Audited
from fhir_server.store.codes import Code, Refresh
from fhir_server.store.database import Database, Tx
from fhir_server.store.grants import Holder, OauthGrant
from fhir_server.store.keys import SigningKey

OfClient = TypeVar("OfClient", Code, Refresh)
# Whether the sign-in of this hash still lasts.
Lives = Callable[[Tx, bytes, datetime], Awaitable[bool]]


class Signers(msgspec.Struct, frozen=True):
    """The keys of a tenant: of access tokens and of id_tokens."""

    access: SigningKey
    identity: SigningKey


class Signed(msgspec.Struct, frozen=True):
    """What the id_token of a redeemed code tells of the sign-in."""

    at: datetime
    nonce: str | None


class Redeemer(msgspec.Struct, frozen=True):
    """Redeems codes and refresh tokens; `forget` makes this process look anew at what was revoked."""

    db: Database
    base_url: str
    hasher: Hasher
    lifetime: timedelta
    refresh_lifetime: timedelta
    lives: Lives
    forget: Callable[[], None]

    async def code(self, tenant: Tenant, proven: Proven, form: Mapping[str, str], now: datetime) -> dict[str, Any]:
        """Return the token response for a code. Raises Refusal; a code that comes twice revokes what it gave."""
        text = form.get("code")
        if not text:
            raise Refusal("invalid_request", "code is needed")
        signers = await self._signers(tenant)
        async with self.db.transaction(tenant.id) as tx:
            found = _of_client(await codes.code(tx, opaque.hashed(text)), proven, "code")
            if found.used is None:
                _require_fit(found, form, now)
                await proven.use(tx, now)
                codes.use_code(tx, found.code_hash, now)
                grant, holder = await self._standing(tx, found.grant_id, now)
                signed = Signed(found.signed_in, found.nonce)
                return self._answer(tx, tenant, signers, grant, holder, grant.scope, now, signed=signed)
            grants.revoke(tx, found.grant_id, "its code came a second time", now)
        self.forget()
        raise Refusal("invalid_grant", "this code was used before: what it gave is revoked")

    async def refresh(self, tenant: Tenant, proven: Proven, form: Mapping[str, str], now: datetime) -> dict[str, Any]:
        """Return the token response for a refresh token, with the next one. Raises Refusal, as for a code."""
        text = form.get("refresh_token")
        if not text:
            raise Refusal("invalid_request", "refresh_token is needed")
        signers = await self._signers(tenant)
        async with self.db.transaction(tenant.id) as tx:
            found = _of_client(await codes.refresh(tx, opaque.hashed(text)), proven, "refresh token")
            if found.used is None:
                if found.expires <= now:
                    raise Refusal("invalid_grant", "this refresh token has expired")
                grant, holder = await self._standing(tx, found.grant_id, now)
                scope = narrowed(form.get("scope"), grant.scope)
                await proven.use(tx, now)
                codes.use_refresh(tx, found.token_hash, now)
                return self._answer(tx, tenant, signers, grant, holder, scope, now)
            grants.revoke(tx, found.grant_id, "its refresh token came a second time", now)
        self.forget()
        raise Refusal("invalid_grant", "this refresh token was used before: all that it gave is revoked")

    async def _signers(self, tenant: Tenant) -> Signers:
        access = await keys.active(self.db, tenant.id)
        return Signers(access, await keys.active(self.db, tenant.id, keys.IDENTITY_ALGORITHM))

    async def _standing(self, tx: Tx, grant_id: str, now: datetime) -> tuple[OauthGrant, Holder]:
        grant = await grants.by_id(tx, grant_id)
        if grant is None or grant.revoked is not None or (grant.expires is not None and grant.expires <= now):
            raise Refusal("invalid_grant", "what this was given for was revoked or is over")
        if grant.session is not None and not await self.lives(tx, grant.session, now):
            raise Refusal("invalid_grant", "the sign-in that this was given for is over")
        holder = await grants.holder(tx, grant.person) if grant.person is not None else None
        if holder is None:
            raise Refusal("invalid_grant", "the user is no longer let in here")
        return grant, holder

    def _answer(
        self, tx: Tx, tenant: Tenant, signers: Signers, grant: OauthGrant, holder: Holder, scope: str, now: datetime,
        *, signed: Signed | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        base, jti = fhir_base(self.base_url, tenant), str(uuid.uuid4())
        token = mint(
            signers.access, base, now, tenant=tenant, scope=scope, subject=holder.sub, client=grant.client_id,
            patient=grant.patient, encounter=grant.encounter, grant_id=grant.id, jti=jti, lifetime=self.lifetime,
        )  # fmt: skip
        answer: dict[str, Any] = {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": int(self.lifetime.total_seconds()),
            "scope": scope,
            **self._context(tenant, grant),
        }
        if any(name in grant.scope.split() for name in REFRESH):
            answer["refresh_token"] = self._next(tx, grant, now)
        if signed and "openid" in scope.split():
            answer["id_token"] = id_token(
                signers.identity, base, grant.client_id, holder, scope, now,
                nonce=signed.nonce, signed_in=signed.at, lifetime=self.lifetime,
            )  # fmt: skip
        whose = self.hasher.self_key(tenant.id, "Patient", grant.patient) if grant.patient else None
        row = Audited(
            at=now, action="token", subject=holder.sub, client=grant.client_id, outcome=200, patient=whose, token=jti,
            detail={"scope": scope, "grant": grant.id},
        )  # fmt: skip
        audit.record(tx, [row])
        return answer

    def _next(self, tx: Tx, grant: OauthGrant, now: datetime) -> str:
        text = opaque.new()
        expires = now + self.refresh_lifetime
        codes.add_refresh(tx, Refresh(opaque.hashed(text), grant.id, grant.client_id, expires))
        grants.extend(tx, grant.id, expires)
        return text

    def _context(self, tenant: Tenant, grant: OauthGrant) -> dict[str, Any]:
        """Return what is open: https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html."""
        asked = grant.scope.split()
        if grant.patient is None and not any(name in asked for name in LAUNCH):
            return {}
        found = {"patient": grant.patient, "encounter": grant.encounter}
        return {name: value for name, value in found.items() if value is not None} | {
            # Who launched the app from here has the patient's name on the screen around it.
            "need_patient_banner": "launch" not in asked,
            "smart_style_url": oauth_address(self.base_url, tenant, "style.json"),
        }


def narrowed(asked: str | None, granted: str) -> str:
    """Return the scopes of a refreshed token: what is asked, all of which must have been granted; raise Refusal."""
    if not asked:
        return granted
    found = shared(asked, granted)
    if sorted(found.split()) != sorted(shared(asked, asked).split()):
        raise Refusal("invalid_scope", "a refreshed token has the scopes that were granted, or fewer")
    return found


def _of_client(found: OfClient | None, proven: Proven, what: str) -> OfClient:
    if found is None or found.client_id != proven.client.client_id:
        raise Refusal("invalid_grant", f"this {what} was not given to this client")
    return found


def _require_fit(code: Code, form: Mapping[str, str], now: datetime) -> None:
    if code.expires <= now:
        raise Refusal("invalid_grant", "this code has expired")
    if form.get("redirect_uri") != code.redirect_uri:
        raise Refusal("invalid_grant", "redirect_uri is another than the one that the code was sent to")
    require_verifier(form.get("code_verifier"), code.challenge)
