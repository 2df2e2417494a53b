"""What a token is good for, for those who are to honour it; and its end, for those who hold it.

https://www.rfc-editor.org/rfc/rfc7662 · https://www.rfc-editor.org/rfc/rfc7009
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from fhir_server.context import Tenant, fhir_base
from fhir_server.errors import Forbidden, Unauthorized
from fhir_server.smart.authentication import Authentication, Proven, claimed
from fhir_server.smart.granting import INTROSPECTION
from fhir_server.smart.refusal import Refusal
from fhir_server.smart.tokens import Verifier
from fhir_server.store import audit, codes, grants, opaque
from fhir_server.store.audit import Audited
from fhir_server.store.codes import Refresh
from fhir_server.store.database import Database, Tx
from fhir_server.store.grants import OauthGrant

INACTIVE: Mapping[str, Any] = {"active": False}


class Asker(msgspec.Struct, frozen=True):
    """Who asks about a token: their own, or, where `any_client`, those of every client of the clinic."""

    client_id: str
    any_client: bool
    proven: Proven | None = None


class Introspection(msgspec.Struct, frozen=True):
    """The introspection and revocation endpoints of every tenant."""

    db: Database
    base_url: str
    clock: Callable[[], datetime]
    authentication: Authentication
    verifier: Verifier

    async def introspect(self, tenant: Tenant, authorization: str, form: Mapping[str, str]) -> Mapping[str, Any]:
        """Return what RFC 7662 has for a token. Raises Refusal to who may not ask at all."""
        now = self.clock()
        try:
            asker = await self._asker(tenant, authorization, form, now)
            token = _token(form)
            found = await self._said(tenant, token, now)
            if not asker.any_client and found.get("client_id") != asker.client_id:
                found = INACTIVE
            async with self.db.transaction(tenant.id) as tx:
                if asker.proven:
                    await asker.proven.use(tx, now)
                told = {"active": found["active"], "of": found.get("client_id")}
                audit.record(tx, [_row("introspect", asker.client_id, 200, now, told)])
        except Refusal as refusal:
            await self._audited(tenant, "introspect", claimed(authorization, form), refusal.status, now)
            raise
        return found

    async def revoke(self, tenant: Tenant, authorization: str, form: Mapping[str, str]) -> None:
        """End the grant of a client's token, and so all its tokens; a token that is none is no failure.

        Raises Refusal for who is no client, and for another client's token.
        """
        now = self.clock()
        try:
            proven = await self.authentication.of(tenant, authorization, form, now)
            token = _token(form)
            of_access = await self._grant_of(tenant, token)
            async with self.db.transaction(tenant.id) as tx:
                await proven.use(tx, now)
                await self._revoked(tx, proven.client.client_id, token, of_access, now)
        except Refusal as refusal:
            await self._audited(tenant, "revoke", claimed(authorization, form), refusal.status, now)
            raise
        self.verifier.forget()

    async def _asker(self, tenant: Tenant, authorization: str, form: Mapping[str, str], now: datetime) -> Asker:
        kind, _, token = authorization.partition(" ")
        if kind.lower() == "bearer":
            return await self._by_token(tenant, token.strip(), now)
        proven = await self.authentication.of(tenant, authorization, form, now)
        if proven.client.kind == "public":
            raise Refusal("invalid_client", "who asks about tokens proves who they are")
        return Asker(proven.client.client_id, INTROSPECTION in proven.client.scope.split(), proven)

    async def _by_token(self, tenant: Tenant, token: str, now: datetime) -> Asker:
        try:
            claims = await self.verifier.claims(token, tenant, fhir_base(self.base_url, tenant), now)
        except (Unauthorized, Forbidden) as problem:
            raise Refusal("invalid_token", "the token of the Authorization header is not good here") from problem
        if INTROSPECTION not in claims["scope"].split():
            raise Refusal("insufficient_scope", f"who asks about tokens has the scope {INTROSPECTION}")
        return Asker(claims["client_id"], any_client=True)

    async def _said(self, tenant: Tenant, token: str, now: datetime) -> Mapping[str, Any]:
        base = fhir_base(self.base_url, tenant)
        try:
            claims = await self.verifier.claims(token, tenant, base, now)
        except (Unauthorized, Forbidden):
            return await self._said_of_refresh(tenant, base, token, now)
        names = ("client_id", "scope", "exp", "iat", "sub", "iss", "aud", "jti", "patient", "encounter")
        grant = await self.verifier.grant(token, tenant, base, now)
        found = {"active": True, "token_type": "Bearer"} | {n: claims[n] for n in names if n in claims}
        reference = grant.member.reference if grant.member else None
        if reference and "fhirUser" in claims["scope"].split():
            found["fhirUser"] = f"{base}/{reference}"
        return found

    async def _said_of_refresh(self, tenant: Tenant, base: str, token: str, now: datetime) -> Mapping[str, Any]:
        async with self.db.transaction(tenant.id) as tx:
            refresh = await codes.refresh(tx, opaque.hashed(token))
            grant = await grants.by_id(tx, refresh.grant_id) if refresh else None
            holder = await grants.holder(tx, grant.person) if grant and grant.person is not None else None
        if refresh is None or grant is None or holder is None or not _stands(refresh, grant, now):
            return INACTIVE
        context = {"patient": grant.patient, "encounter": grant.encounter}
        return {
            "active": True,
            "client_id": grant.client_id,
            "scope": grant.scope,
            "exp": int(refresh.expires.timestamp()),
            "sub": holder.sub,
            "iss": base,
        } | {name: value for name, value in context.items() if value is not None}

    async def _grant_of(self, tenant: Tenant, token: str) -> tuple[str, str | None] | None:
        """Return client and grant of an access token of this clinic, expired or not."""
        try:
            grant = await self.verifier.signed(token)
        except Unauthorized:
            return None
        return (grant.client, grant.id) if grant.tenant.id == tenant.id else None

    async def _revoked(
        self, tx: Tx, client_id: str, token: str, of_access: tuple[str, str | None] | None, now: datetime
    ) -> None:
        refresh = await codes.refresh(tx, opaque.hashed(token)) if of_access is None else None
        found = (refresh.client_id, refresh.grant_id) if refresh else of_access
        if found is None:
            return
        if found[0] != client_id:
            raise Refusal("invalid_grant", "this token was not given to this client")
        if found[1] is not None:
            grants.revoke(tx, found[1], "its client gave it back", now)
            audit.record(tx, [_row("revoke", client_id, 200, now, {"grant": found[1]})])

    async def _audited(self, tenant: Tenant, action: str, client_id: str, outcome: int, now: datetime) -> None:
        async with self.db.transaction(tenant.id) as tx:
            audit.record(tx, [_row(action, client_id, outcome, now, None)])


def _token(form: Mapping[str, str]) -> str:
    if not form.get("token"):
        raise Refusal("invalid_request", "token is needed")
    return form["token"]


def _stands(refresh: Refresh, grant: OauthGrant, now: datetime) -> bool:
    return (
        refresh.used is None
        and refresh.expires > now
        and grant.revoked is None
        and (grant.expires is None or grant.expires > now)
    )


def _row(action: str, client_id: str, outcome: int, now: datetime, told: dict[str, Any] | None) -> Audited:
    return Audited(at=now, action=action, subject=client_id, client=client_id, outcome=outcome, detail=told)
