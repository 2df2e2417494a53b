"""Tables of signing in: sessions, second factors, invitations and what went wrong. Nothing of a patient.

Without row-level security, for nobody's tenant is known before they are. Tokens and codes are stored as hashes alone.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import BYTEA, JSONB

from fhir_server.store.columns import INSTANT, NOW, may, metadata, must

OPEN = ("person_event", "session", "factor", "recovery_code", "invitation", "sign_in_failure")


def _person(table: str) -> Column[int]:
    return Column(
        "person_id",
        BigInteger,
        ForeignKey("person.id", name=f"{table}_person_id_fkey", ondelete="CASCADE"),
        nullable=False,
    )


session = Table(
    "session",
    metadata,
    Column("hash", BYTEA, primary_key=True),  # SHA-256 of the token in the cookie
    _person("session"),
    must("created", INSTANT),
    must("seen", INSTANT),
    must("expires", INSTANT),
    may("verified", INSTANT),  # since when all factors are given; null: the second is missing
    must("method", Text),  # of the last factor: password, totp, webauthn, recovery
    may("address", Text),
    may("agent", Text),
    may("challenge", BYTEA),  # asked of a security key, good once
    may("enrolling", BYTEA),  # secret, sealed, of the authenticator app that is being set up
)
Index("session_person", session.c.person_id)
Index("session_expires", session.c.expires)

factor = Table(
    "factor",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _person("factor"),
    must("kind", Text),
    must("name", Text),  # what its owner calls it
    may("secret", BYTEA),  # of an authenticator app, sealed
    may("credential", BYTEA),  # id of a security key's credential
    may("public_key", BYTEA),
    must("counter", BigInteger, server_default=text("0")),  # last step, or signature counter, that was used
    must("created", INSTANT),
    may("used", INSTANT),
    UniqueConstraint("credential", name="factor_credential_key"),
    CheckConstraint("kind in ('totp', 'webauthn')", name="factor_kind_check"),
)
Index("factor_person", factor.c.person_id)

recovery_code = Table(
    "recovery_code",
    metadata,
    _person("recovery_code"),
    must("hash", BYTEA),
    must("created", INSTANT),
    may("used", INSTANT),
    PrimaryKeyConstraint("person_id", "hash", name="recovery_code_pkey"),
)

invitation = Table(
    "invitation",
    metadata,
    Column("hash", BYTEA, primary_key=True),  # SHA-256 of the token in the link
    _person("invitation"),
    must("clears_factors", Boolean),  # lets somebody in who has lost them
    must("created", INSTANT),
    must("expires", INSTANT),
    may("used", INSTANT),
)
Index("invitation_person", invitation.c.person_id)

sign_in_failure = Table(
    "sign_in_failure",
    metadata,
    must("kind", Text),  # account, address, factor
    must("key", BYTEA),  # hash of the e-mail address, of the network address, of the person
    must("failures", Integer),
    must("at", INSTANT),
    must("until", INSTANT),  # no further try before
    PrimaryKeyConstraint("kind", "key", name="sign_in_failure_pkey"),
)
Index("sign_in_failure_at", sign_in_failure.c.at)

person_event = Table(
    "person_event",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    must("at", INSTANT, server_default=NOW),
    may("person_id", BigInteger),
    must("action", Text),
    must("outcome", SmallInteger),  # HTTP status
    may("address", Text),
    may("detail", JSONB),
)
Index("person_event_person", person_event.c.person_id, person_event.c.at)
