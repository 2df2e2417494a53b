"""Tables of the authorization server: clients, what they were granted, and the assertions they used."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, PrimaryKeyConstraint, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from fhir_server.store.columns import INSTANT, NOW, may, metadata, must, tenant_id

oauth_client = Table(
    "oauth_client",
    metadata,
    tenant_id(),
    must("client_id", Text),
    must("name", Text),  # what people call it
    must("scope", Text),  # the most that it may be granted
    must("jwks", JSONB),  # its public keys: https://www.rfc-editor.org/rfc/rfc7517
    must("created", INSTANT, server_default=NOW),
    may("disabled", INSTANT),  # gets no more tokens
    PrimaryKeyConstraint("tenant_id", "client_id", name="oauth_client_pkey"),
)

# Assertions that were used, until they expire: https://www.rfc-editor.org/rfc/rfc7523#section-3
oauth_assertion = Table(
    "oauth_assertion",
    metadata,
    tenant_id(),
    must("client_id", Text),
    must("jti", Text),
    must("expires", INSTANT),
    PrimaryKeyConstraint("tenant_id", "client_id", "jti", name="oauth_assertion_pkey"),
)
Index("oauth_assertion_expires", *(oauth_assertion.c[c] for c in ("tenant_id", "client_id", "expires")))

# What a user has allowed an app, or a client holds: its tokens stand and fall together.
oauth_grant = Table(
    "oauth_grant",
    metadata,
    tenant_id(),
    must("id", Text),  # stands in its access tokens
    must("client_id", Text),
    may("person_id", BigInteger),  # null: the client acts for itself
    must("scope", Text),
    may("patient", Text),  # id of the Patient in context
    may("encounter", Text),
    must("created", INSTANT),
    may("expires", INSTANT),
    may("revoked", INSTANT),
    may("reason", Text),  # why it was revoked
    PrimaryKeyConstraint("tenant_id", "id", name="oauth_grant_pkey"),
)
Index("oauth_grant_person", *(oauth_grant.c[c] for c in ("tenant_id", "person_id", "client_id")))
