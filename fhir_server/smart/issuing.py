"""Access tokens for backend services: a client assertion goes in, a short-lived token comes out.

https://hl7.org/fhir/smart-app-launch/backend-services.html · https://www.rfc-editor.org/rfc/rfc6749#section-4.4
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from fhir_server.context import Tenant, fhir_base
from fhir_server.smart import assertion
from fhir_server.smart.assertion import Assertion
from fhir_server.smart.granting import backend_scope
from fhir_server.smart.refusal import Refusal
from fhir_server.smart.tokens import mint
from fhir_server.store import audit, clients, keys
from fhir_server.store.audit import Audited
from fhir_server.store.clients import Client
from fhir_server.store.database import Database


class Issuer(msgspec.Struct, frozen=True):
    """What gives tokens to the clients of every tenant; `lifetime` is that of an access token."""

    db: Database
    base_url: str
    clock: Callable[[], datetime]
    lifetime: timedelta

    def audience(self, tenant: Tenant) -> str:
        """Return the address that an assertion must name in aud: the tenant's token endpoint."""
        return token_endpoint(self.base_url, tenant)

    async def client_credentials(self, tenant: Tenant, form: Mapping[str, str]) -> dict[str, Any]:
        """Return the members of a token response. Raises Refusal; each refusal and each token is audited."""
        now = self.clock()
        try:
            return await self._granted(tenant, form, now)
        except Refusal as refusal:
            await self._audited(tenant, _claimed(form), refusal.status, now, refusal.code)
            raise

    async def _granted(self, tenant: Tenant, form: Mapping[str, str], now: datetime) -> dict[str, Any]:
        client, proof = await self._authenticated(tenant, form, now)
        scope = backend_scope(form.get("scope", ""), client.scope)
        key = await keys.active(self.db, tenant.id)
        async with self.db.transaction(tenant.id) as tx:
            # In the transaction that records the token: of two processes with one assertion, one gives a token.
            if not await clients.use(tx, client.client_id, proof.jti, proof.expires, now):
                raise Refusal("invalid_client", "this assertion was used before: a jti is good for one token")
            audit.record(tx, [_row(client.client_id, 200, now, scope)])
        base = fhir_base(self.base_url, tenant)
        token = mint(
            key, base, now, tenant=tenant, scope=scope, subject=client.client_id, client=client.client_id,
            lifetime=self.lifetime,
        )  # fmt: skip
        expires_in = int(self.lifetime.total_seconds())
        return {"access_token": token, "token_type": "bearer", "expires_in": expires_in, "scope": scope}

    async def _authenticated(self, tenant: Tenant, form: Mapping[str, str], now: datetime) -> tuple[Client, Assertion]:
        if form.get("client_assertion_type") != assertion.TYPE or not form.get("client_assertion"):
            raise Refusal("invalid_request", f"client_assertion is needed, and client_assertion_type {assertion.TYPE}")
        text = form["client_assertion"]
        claimed = assertion.claimed_client(text)
        if form.get("client_id", claimed) != claimed:
            raise Refusal("invalid_client", "client_id is another than the assertion's")
        client = await clients.by_id(self.db, tenant.id, claimed) if "\0" not in claimed else None
        if client is None or client.disabled is not None:
            raise Refusal("invalid_client", "there is no such client here, or it is disabled")
        return client, assertion.verify(text, client.client_id, client.jwks, self.audience(tenant), now)

    async def _audited(self, tenant: Tenant, client_id: str, outcome: int, now: datetime, told: str) -> None:
        async with self.db.transaction(tenant.id) as tx:
            audit.record(tx, [_row(client_id, outcome, now, told)])


def token_endpoint(base_url: str, tenant: Tenant) -> str:
    """Return the address of the tenant's token endpoint."""
    return f"{base_url}/{tenant.name}/oauth/token"


def _row(client_id: str, outcome: int, now: datetime, told: str) -> Audited:
    return Audited(
        at=now, action="token", subject=client_id, client=client_id, outcome=outcome, detail={"scope": told}
        if outcome == 200 else {"error": told},
    )  # fmt: skip


def _claimed(form: Mapping[str, str]) -> str:
    """Return whom a refused request claimed to come from, as far as that can be kept."""
    try:
        return assertion.claimed_client(form.get("client_assertion", "")).replace("\0", "")
    except Refusal:
        return "unknown"
