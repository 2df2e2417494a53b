"""Who a client is: by its secret, by an assertion signed with its key, or, where it can prove nothing, by its id.

https://www.rfc-editor.org/rfc/rfc6749#section-2.3 · https://hl7.org/fhir/smart-app-launch/client-confidential-symmetric.html
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from secrets import compare_digest
from urllib.parse import unquote_plus

import msgspec

from fhir_server.context import Tenant, oauth_address
from fhir_server.smart import assertion
from fhir_server.smart.assertion import Assertion
from fhir_server.smart.jwks import KeySets
from fhir_server.smart.refusal import Refusal
from fhir_server.store import clients, opaque
from fhir_server.store.clients import Client
from fhir_server.store.database import Database, Tx

METHODS = ("none", "client_secret_basic", "client_secret_post", "private_key_jwt")


class Proven(msgspec.Struct, frozen=True):
    """A client that proved who it is as it is registered to; `proof` is an assertion that is yet to be used up."""

    client: Client
    proof: Assertion | None = None

    async def use(self, tx: Tx, now: datetime) -> None:
        """Use the assertion up, in the transaction of what it is good for; raise Refusal where it was used before."""
        used = self.proof
        if used and not await clients.use(tx, self.client.client_id, used.jti, used.expires, now):
            raise Refusal("invalid_client", "this assertion was used before: a jti is good for one token")


class Authentication(msgspec.Struct, frozen=True):
    """Finds out who asks at the token, introspection and revocation endpoints of every tenant."""

    db: Database
    base_url: str
    key_sets: KeySets

    async def of(self, tenant: Tenant, authorization: str, form: Mapping[str, str], now: datetime) -> Proven:
        """Return the client that sent an Authorization header and a form. Raises Refusal."""
        basic = authorization.partition(" ")[0].lower() == "basic"
        asserted = "client_assertion" in form or "client_assertion_type" in form
        if basic + asserted + ("client_secret" in form) > 1:
            raise Refusal("invalid_request", "a client proves who it is in one way at a time")
        if asserted:
            return await self._by_key(tenant, form, now)
        if basic:
            return await self._by_header(tenant, authorization, form)
        return await self._by_form(tenant, form)

    async def _by_key(self, tenant: Tenant, form: Mapping[str, str], now: datetime) -> Proven:
        text = form.get("client_assertion")
        if form.get("client_assertion_type") != assertion.TYPE or not text:
            raise Refusal("invalid_request", f"client_assertion is needed, and client_assertion_type {assertion.TYPE}")
        claimed = assertion.claimed_client(text)
        if form.get("client_id", claimed) != claimed:
            raise Refusal("invalid_client", "client_id is another than the assertion's")
        client = await self._client(tenant, claimed)
        if client.kind != "asymmetric":
            raise Refusal("invalid_client", "this client is not registered with keys")
        keys = await self.key_sets.of(client, assertion.claimed_key(text), now)
        audience = oauth_address(self.base_url, tenant, "token")
        proof = assertion.verify(text, client.client_id, keys, audience, now, client.jwks_uri)
        return Proven(client, proof)

    async def _by_header(self, tenant: Tenant, authorization: str, form: Mapping[str, str]) -> Proven:
        client_id, secret = _basic(authorization)
        # RFC 6749 has both percent-encoded before they are joined, SMART's example has not: clients do either.
        client = await self._found(tenant, client_id) or await self._client(tenant, unquote_plus(client_id))
        if form.get("client_id", client.client_id) != client.client_id:
            raise Refusal("invalid_client", "client_id is another than the one of the Authorization header")
        _require_secret(client, secret, unquote_plus(secret))
        return Proven(client)

    async def _by_form(self, tenant: Tenant, form: Mapping[str, str]) -> Proven:
        if not form.get("client_id"):
            raise Refusal("invalid_client", "client_id is needed, or another proof of who the client is")
        client = await self._client(tenant, form["client_id"])
        if "client_secret" in form:
            _require_secret(client, form["client_secret"])
        elif client.kind != "public":
            raise Refusal("invalid_client", "this client is registered to prove who it is")
        return Proven(client)

    async def _client(self, tenant: Tenant, client_id: str) -> Client:
        found = await self._found(tenant, client_id)
        if found is None or found.disabled is not None:
            raise Refusal("invalid_client", "there is no such client here, or it is disabled")
        return found

    async def _found(self, tenant: Tenant, client_id: str) -> Client | None:
        return await clients.by_id(self.db, tenant.id, client_id)


def claimed(authorization: str, form: Mapping[str, str]) -> str:
    """Return whom a request claims to come from, unverified, as far as that can be kept in the audit."""
    try:
        if "client_assertion" in form:
            found = assertion.claimed_client(form["client_assertion"])
        elif authorization.partition(" ")[0].lower() == "basic":
            found = _basic(authorization)[0]
        else:
            found = form.get("client_id", "")
    except Refusal:
        found = ""
    return found.replace("\0", "")[:255] or "unknown"


def _basic(authorization: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(authorization.partition(" ")[2].strip(), validate=True).decode()
    except (binascii.Error, ValueError) as problem:
        raise Refusal("invalid_client", "the Authorization header is not the base64 of client_id:secret") from problem
    client_id, colon, secret = text.partition(":")
    if not colon or not client_id:
        raise Refusal("invalid_client", "the Authorization header is not the base64 of client_id:secret")
    return client_id, secret


def _require_secret(client: Client, *secrets: str) -> None:
    hashes = [opaque.hashed(secret) for secret in secrets]
    known = client.secret_hash if client.kind == "symmetric" else None
    if known is None or not any(compare_digest(known, one) for one in hashes):
        raise Refusal("invalid_client", "the client's secret is another")
