"""Tables of the audit: what was done and seen, by day; the server adds to them and changes nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import BYTEA, JSONB
from sqlalchemy.types import UserDefinedType

from fhir_server.store.columns import INSTANT, NOW, may, metadata, must, tenant_id


class Xid8(UserDefinedType[str]):
    """The number of a transaction, which never comes again: https://www.postgresql.org/docs/18/datatype-oid.html"""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return the name of the type in SQL."""
        return "xid8"


audit = Table(
    "audit",
    metadata,
    tenant_id(),
    must("at", INSTANT),
    must("id", BigInteger, server_default=text("nextval('audit_id'::regclass)")),
    must("action", Text),
    may("subject", Text),
    may("client", Text),
    may("type", SmallInteger),
    may("resource_id", Text),
    may("version", Integer),
    must("outcome", SmallInteger),  # HTTP status
    may("request_id", Text),
    may("detail", JSONB),
    may("patient", BigInteger),  # self_key of the patient whose data it was about
    may("purpose", Text),  # http://terminology.hl7.org/ValueSet/v3-PurposeOfUse, where it was special
    may("token", Text),  # jti of the access token
    may("query", BYTEA),  # the request of a search, as it came
    # What committed before a moment is told by it; a time of day does not tell.
    must("xid", Xid8, server_default=text("pg_current_xact_id()")),
    may("peer", Text),  # address that the request came from
    PrimaryKeyConstraint("tenant_id", "at", "id", name="audit_pkey"),
    postgresql_partition_by="range (at)",
)
Index("audit_xid", *(audit.c[c] for c in ("tenant_id", "xid")))
Index(
    "audit_patient",
    *(audit.c[c] for c in ("tenant_id", "patient", "at")),
    postgresql_where=text("patient is not null"),
)
Index("audit_subject", *(audit.c[c] for c in ("tenant_id", "subject", "at")))

# Transaction numbers begin anew where a backup was restored into another cluster: which rows are of which counting.
OPEN = ("audit_era",)
audit_era = Table(
    "audit_era",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    must("cluster", Text),  # PostgreSQL's system identifier, as far as it was known
    must("after", BigInteger),  # its rows have greater ids
    must("started", INSTANT, server_default=NOW),
)

# What was committed in a span of transactions, by the day that it tells of: so that days can be dropped.
audit_block = Table(
    "audit_block",
    metadata,
    tenant_id(),
    must("number", BigInteger),
    must("day", Date),
    must("era", Integer),
    must("since", BigInteger),  # xid
    must("until", BigInteger),  # xid, not included
    must("rows", Integer),
    must("leaves", BYTEA),  # of each row its id and the beginning of its hash
    must("previous", BYTEA),
    must("hash", BYTEA),
    must("sealed", INSTANT),
    PrimaryKeyConstraint("tenant_id", "number", name="audit_block_pkey"),
)

# Where a chain starts since days before `before` were dropped: its last block that was dropped with them.
audit_start = Table(
    "audit_start",
    metadata,
    must("tenant_id", Integer, autoincrement=False),
    must("number", BigInteger),
    must("hash", BYTEA),
    must("before", Date),
    must("moved", INSTANT),
    PrimaryKeyConstraint("tenant_id", name="audit_start_pkey"),
)

# What was before and after an administrative change; the audit holds its digest, so that it can be erased.
audit_state = Table(
    "audit_state",
    metadata,
    tenant_id(),
    must("digest", BYTEA),
    must("body", BYTEA),
    PrimaryKeyConstraint("tenant_id", "digest", name="audit_state_pkey"),
)
