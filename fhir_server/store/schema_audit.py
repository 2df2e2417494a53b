"""Tables of the audit: what was done and seen, by day; the server adds to them and changes nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Index, Integer, PrimaryKeyConstraint, SmallInteger, Table, Text, text
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, UUID
from sqlalchemy.types import UserDefinedType

from fhir_server.store.columns import INSTANT, may, metadata, must, tenant_id


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
    may("token", UUID),  # jti of the access token
    may("query", BYTEA),  # the request of a search, as it came
    # What committed before a moment is told by it; a time of day does not tell.
    must("xid", Xid8, server_default=text("pg_current_xact_id()")),
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
