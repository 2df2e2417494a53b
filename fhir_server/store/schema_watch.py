"""Tables of watching: what channels did, which alerts stand, and who is told."""

from __future__ import annotations

from sqlalchemy import UUID, BigInteger, CheckConstraint, Index, Integer, PrimaryKeyConstraint, Table, Text, text
from sqlalchemy.dialects.postgresql import BYTEA, JSONB

from fhir_server.store.columns import INSTANT, may, metadata, must, tenant_id

# Without row-level security: which tenants are to be looked at, and what listening processes have open.
OPEN = frozenset({"watched_tenant", "listener_process"})

channel_count = Table(
    "channel_count",
    metadata,
    tenant_id(),
    must("channel", Text),
    must("slot", INSTANT),  # beginning of five minutes; 1970: since ever
    must("what", Text),  # store/figures.py
    must("count", BigInteger),
    must("last", INSTANT),  # when it last happened
    PrimaryKeyConstraint("tenant_id", "channel", "slot", "what", name="channel_count_pkey"),
)
Index("channel_count_slot", channel_count.c.tenant_id, channel_count.c.slot)

watched_tenant = Table(
    "watched_tenant",
    metadata,
    must("tenant_id", Integer, autoincrement=False),
    must("looked", INSTANT),
    PrimaryKeyConstraint("tenant_id", name="watched_tenant_pkey"),
)

listener_process = Table(
    "listener_process",
    metadata,
    must("process", UUID),
    must("seen", INSTANT),
    must("connections", Integer),
    must("refused", BigInteger),
    PrimaryKeyConstraint("process", name="listener_process_pkey"),
)

alert = Table(
    "alert",
    metadata,
    tenant_id(),
    must("id", BigInteger, server_default=text("nextval('alert_id'::regclass)")),
    must("channel", Text),  # "": of the clinic
    must("kind", Text),
    must("count", BigInteger),
    must("detail", JSONB),  # figures, nothing of a patient
    must("first", INSTANT),
    must("last", INSTANT),
    may("acknowledged", INSTANT),
    may("acknowledged_by", Text),
    may("note", Text),
    may("resolved", INSTANT),
    may("told", INSTANT),  # when somebody was last told
    must("told_count", BigInteger, server_default=text("0")),
    PrimaryKeyConstraint("tenant_id", "id", name="alert_pkey"),
)
_OPEN_ALERT = (alert.c[c] for c in ("tenant_id", "channel", "kind"))
Index("alert_standing", *_OPEN_ALERT, unique=True, postgresql_where=text("resolved is null"))

alert_target = Table(
    "alert_target",
    metadata,
    tenant_id(),
    must("id", BigInteger, server_default=text("nextval('alert_id'::regclass)")),
    must("kind", Text),
    must("address", Text),
    may("secret", BYTEA),  # that signs what a webhook gets, sealed
    must("created", INSTANT),
    must("author", Text),
    PrimaryKeyConstraint("tenant_id", "id", name="alert_target_pkey"),
    CheckConstraint("kind in ('email', 'webhook')", name="alert_target_kind_check"),
)
Index("alert_target_address", *(alert_target.c[c] for c in ("tenant_id", "kind", "address")), unique=True)
