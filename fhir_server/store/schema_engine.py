"""Tables of the integration engine: channels and the versions of their definitions."""

from __future__ import annotations

from sqlalchemy import UUID, BigInteger, CheckConstraint, Integer, PrimaryKeyConstraint, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from fhir_server.store.columns import INSTANT, may, metadata, must, tenant_id

channel = Table(
    "channel",
    metadata,
    tenant_id(),
    must("name", Text),
    must("state", Text),
    must("version", Integer),  # the one that works
    must("changed", INSTANT),
    PrimaryKeyConstraint("tenant_id", "name", name="channel_pkey"),
    CheckConstraint("state in ('running', 'paused', 'draining')", name="channel_state_check"),
)

channel_version = Table(
    "channel_version",
    metadata,
    tenant_id(),
    must("name", Text),
    must("version", Integer),
    must("definition", JSONB),  # engine/definition.py
    must("author", Text),
    may("note", Text),
    must("created", INSTANT),
    PrimaryKeyConstraint("tenant_id", "name", "version", name="channel_version_pkey"),
)

# Without row-level security, like the tickets; not logged, so that it costs no write of the disk.
job_attempt = Table(
    "job_attempt",
    metadata,
    tenant_id(),
    must("ticket", BigInteger),
    must("worker", UUID),  # of the process
    must("deaths", Integer),  # processes that died at it
    PrimaryKeyConstraint("tenant_id", "ticket", name="job_attempt_pkey"),
    prefixes=["unlogged"],
)
