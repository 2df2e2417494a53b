"""Tables of the authorization server: clients, what they were granted, and the assertions they used."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Index, PrimaryKeyConstraint, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB

from fhir_server.store.columns import INSTANT, NOW, may, metadata, must, tenant_id

_NONE = text("'{}'")

oauth_client = Table(
    "oauth_client",
    metadata,
    tenant_id(),
    must("client_id", Text),
    must("name", Text),  # what people call it
    must("scope", Text),  # the most that it may be granted
    may("jwks", JSONB),  # its public keys: https://www.rfc-editor.org/rfc/rfc7517
    must("created", INSTANT, server_default=NOW),
    may("disabled", INSTANT),  # gets no more tokens
    must("kind", Text, server_default=text("'asymmetric'")),  # how it proves who it is
    may("jwks_uri", Text),  # where its public keys are, instead of `jwks`
    may("secret_hash", BYTEA),  # of a symmetric one
    must("redirect_uris", ARRAY(Text), server_default=_NONE),
    may("launch_uri", Text),  # where it is started from here
    must("origins", ARRAY(Text), server_default=_NONE),  # of its web pages, which may call from a browser
    CheckConstraint("kind in ('public', 'symmetric', 'asymmetric')", name="oauth_client_kind_check"),
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
    may("session", BYTEA),  # hash of the sign-in that it ends with; null: it outlasts it, or needs none
    PrimaryKeyConstraint("tenant_id", "id", name="oauth_grant_pkey"),
)
Index("oauth_grant_person", *(oauth_grant.c[c] for c in ("tenant_id", "person_id", "client_id")))
Index(
    "oauth_grant_service",
    *(oauth_grant.c[c] for c in ("tenant_id", "client_id", "expires")),
    postgresql_where=text("person_id is null"),
)

# What apps ask people for, until it is answered; found by the hash of a handle that stands in the browser's address.
oauth_request = Table(
    "oauth_request",
    metadata,
    tenant_id(),
    must("handle_hash", BYTEA),
    must("client_id", Text),
    must("redirect_uri", Text),
    must("state", Text),
    must("scope", Text),
    must("challenge", Text),  # https://www.rfc-editor.org/rfc/rfc7636
    must("created", INSTANT),
    must("expires", INSTANT),
    may("nonce", Text),
    may("launched_by", BigInteger),  # the person who started the app here, the only one to answer
    may("person", BigInteger),  # who has begun to answer
    may("patient", Text),
    may("encounter", Text),
    must("asked_encounter", Boolean),  # an encounter was chosen, or that there is none
    PrimaryKeyConstraint("tenant_id", "handle_hash", name="oauth_request_pkey"),
)
Index("oauth_request_expires", *(oauth_request.c[c] for c in ("tenant_id", "expires")))

# What was open on the screen of who started an app from here.
oauth_launch = Table(
    "oauth_launch",
    metadata,
    tenant_id(),
    must("launch_hash", BYTEA),
    must("client_id", Text),
    must("person", BigInteger),
    may("patient", Text),
    may("encounter", Text),
    must("created", INSTANT),
    must("expires", INSTANT),
    PrimaryKeyConstraint("tenant_id", "launch_hash", name="oauth_launch_pkey"),
)
Index("oauth_launch_expires", *(oauth_launch.c[c] for c in ("tenant_id", "expires")))

oauth_code = Table(
    "oauth_code",
    metadata,
    tenant_id(),
    must("code_hash", BYTEA),
    must("grant_id", Text),
    must("client_id", Text),
    must("redirect_uri", Text),
    must("challenge", Text),
    may("nonce", Text),
    must("signed_in", INSTANT),  # when the person did: auth_time of OpenID Connect
    must("expires", INSTANT),
    may("used", INSTANT),  # a second use gives the grant away
    PrimaryKeyConstraint("tenant_id", "code_hash", name="oauth_code_pkey"),
)
Index("oauth_code_expires", *(oauth_code.c[c] for c in ("tenant_id", "expires")))

oauth_refresh = Table(
    "oauth_refresh",
    metadata,
    tenant_id(),
    must("token_hash", BYTEA),
    must("grant_id", Text),
    must("client_id", Text),
    must("expires", INSTANT),
    may("used", INSTANT),  # another took its place; a second use gives the grant away
    PrimaryKeyConstraint("tenant_id", "token_hash", name="oauth_refresh_pkey"),
)
Index("oauth_refresh_expires", *(oauth_refresh.c[c] for c in ("tenant_id", "expires")))
