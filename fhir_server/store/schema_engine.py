"""Tables of the integration engine: channels and the versions of their definitions, and what belongs to messages."""

from __future__ import annotations

from sqlalchemy import UUID, BigInteger, CheckConstraint, Index, Integer, PrimaryKeyConstraint, Table, Text, text
from sqlalchemy.dialects.postgresql import BYTEA, JSONB

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

channel_poll = Table(
    "channel_poll",
    metadata,
    tenant_id(),
    must("channel", Text),
    may("owner", UUID),  # the process that looks
    may("held", INSTANT),  # until when, by the database's clock
    must("mark", JSONB, server_default=text("'{}'::jsonb")),  # how far it is
    may("looked", INSTANT),  # the last look that went well
    may("taken", INSTANT),  # the last that brought something
    must("total", BigInteger, server_default=text("0")),
    must("failures", Integer, server_default=text("0")),  # in a row
    may("failed", INSTANT),
    may("failure", Text),  # in words of ours
    PrimaryKeyConstraint("tenant_id", "channel", name="channel_poll_pkey"),
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

# What messages have in common: few of them stand for all messages.
message_kind = Table(
    "message_kind",
    metadata,
    tenant_id(),
    must("kind", BigInteger),  # hash of the rest
    must("channel", Text),
    may("message_type", Text),
    may("trigger", Text),
    may("sender_app", Text),
    may("sender_facility", Text),
    PrimaryKeyConstraint("tenant_id", "kind", name="message_kind_pkey"),
)

# What few messages have: the numbers of patients and orders, and the words of reasons, as hashes.
message_key = Table(
    "message_key",
    metadata,
    tenant_id(),
    must("key", BigInteger),
    must("received", INSTANT),
    must("id", BigInteger),
    PrimaryKeyConstraint("tenant_id", "key", "received", "id", name="message_key_pkey"),
    postgresql_partition_by="range (received)",
)

# Objects that hold documents of messages that are kept.
message_object = Table(
    "message_object",
    metadata,
    tenant_id(),
    must("key", BYTEA),  # as in binary_object
    must("received", INSTANT),
    must("message_id", BigInteger),
    PrimaryKeyConstraint("tenant_id", "key", "message_id", name="message_object_pkey"),
)
Index("message_object_message", message_object.c.tenant_id, message_object.c.message_id)

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
