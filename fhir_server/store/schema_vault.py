"""The table of data keys, each wrapped by the master key: without that key it tells nothing."""

from __future__ import annotations

from sqlalchemy import Integer, PrimaryKeyConstraint, Table
from sqlalchemy.dialects.postgresql import BYTEA

from fhir_server.store.columns import INSTANT, NOW, may, metadata, must, tenant_id

data_key = Table(
    "data_key",
    metadata,
    # No foreign key: a key is made aside, while the tenant's row may be locked by whoever needs it.
    tenant_id(),
    must("id", Integer),  # stands before all that it seals
    must("wrapped", BYTEA),
    must("created", INSTANT, server_default=NOW),
    may("retired", INSTANT),  # seals no more, opens still
    PrimaryKeyConstraint("tenant_id", "id", name="data_key_pkey"),
)
