"""The token endpoint: who proves a right to it gets a token, and every token and refusal is audited.

https://www.rfc-editor.org/rfc/rfc6749#section-5 · https://hl7.org/fhir/smart-app-launch/backend-services.html
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from fhir_server.context import Tenant, fhir_base
from fhir_server.smart.authentication import Authentication, Proven, claimed
from fhir_server.smart.granting import backend_scope, require_usable
from fhir_server.smart.redeeming import Redeemer
from fhir_server.smart.refusal import Refusal
from fhir_server.smart.rules import Rules
from fhir_server.smart.tokens import mint
from fhir_server.store import audit, grants, keys
from fhir_server.store.audit import Audited
from fhir_server.store.database import Database
from fhir_server.store.grants import OauthGrant

GRANT_TYPES = ("authorization_code", "refresh_token", "client_credentials")


class Issuer(msgspec.Struct, frozen=True):
    """What gives tokens to the clients of every tenant; `lifetime` is that of a backend service's access token."""

    db: Database
    base_url: str
    clock: Callable[[], datetime]
    authentication: Authentication
    redeemer: Redeemer
    rules: Rules
    lifetime: timedelta

    async def token(self, tenant: Tenant, authorization: str, form: Mapping[str, str]) -> dict[str, Any]:
        """Return the members of a token response. Raises Refusal."""
        now = self.clock()
        try:
            grant_type = _grant_type(form)
            proven = await self.authentication.of(tenant, authorization, form, now)
            if grant_type == "client_credentials":
                return await self._service(tenant, proven, form, now)
            redeem = self.redeemer.code if grant_type == "authorization_code" else self.redeemer.refresh
            return await redeem(tenant, proven, form, now)
        except Refusal as refusal:
            await self._refused(tenant, claimed(authorization, form), refusal, now)
            raise

    async def _service(self, tenant: Tenant, proven: Proven, form: Mapping[str, str], now: datetime) -> dict[str, Any]:
        """Return the token of a client that acts for itself, which only one with a key of its own may."""
        client = proven.client
        if client.kind != "asymmetric":
            raise Refusal("unauthorized_client", "client_credentials is for clients that sign assertions with a key")
        scope = require_usable(self.rules, backend_scope(form.get("scope", ""), client.scope))
        key = await keys.active(self.db, tenant.id)
        grant = OauthGrant(
            id=str(uuid.uuid4()), client_id=client.client_id, scope=scope, created=now, expires=now + self.lifetime
        )
        jti = str(uuid.uuid4())
        async with self.db.transaction(tenant.id) as tx:
            # In the transaction that records the token: of two processes with one assertion, one gives a token.
            await proven.use(tx, now)
            grants.add_service(tx, grant)
            audit.record(tx, [_row(client.client_id, 200, now, {"scope": scope, "grant": grant.id}, jti)])
        token = mint(
            key, fhir_base(self.base_url, tenant), now, tenant=tenant, scope=scope, subject=client.client_id,
            client=client.client_id, grant_id=grant.id, jti=jti, lifetime=self.lifetime,
        )  # fmt: skip
        expires_in = int(self.lifetime.total_seconds())
        return {"access_token": token, "token_type": "bearer", "expires_in": expires_in, "scope": scope}

    async def _refused(self, tenant: Tenant, client_id: str, refusal: Refusal, now: datetime) -> None:
        async with self.db.transaction(tenant.id) as tx:
            audit.record(tx, [_row(client_id, refusal.status, now, {"error": refusal.code})])


def _grant_type(form: Mapping[str, str]) -> str:
    found = form.get("grant_type")
    if found is None:
        raise Refusal("invalid_request", f"grant_type is needed: {', '.join(GRANT_TYPES)}")
    if found not in GRANT_TYPES:
        raise Refusal("unsupported_grant_type", f"this server gives tokens for {', '.join(GRANT_TYPES)}")
    return found


def _row(client_id: str, outcome: int, now: datetime, told: dict[str, Any], jti: str | None = None) -> Audited:
    return Audited(at=now, action="token", subject=client_id, client=client_id, outcome=outcome, token=jti, detail=told)
