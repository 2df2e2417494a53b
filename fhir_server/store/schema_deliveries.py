"""Tables of what channels send on: deliveries with their tries, how each destination fares, and secrets."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import BYTEA, JSONB

from fhir_server.store.columns import INSTANT, may, metadata, must, tenant_id

delivery_id = Sequence("delivery_id", metadata=metadata, data_type=BigInteger)

delivery = Table(
    "delivery",
    metadata,
    tenant_id(),
    must("received", INSTANT),  # of the message: it goes with it
    must("id", BigInteger, server_default=text("nextval('delivery_id'::regclass)")),
    must("message_id", BigInteger),
    must("channel", Text),
    must("destination", Text),
    must("sends", Text),
    must("content_key", BYTEA),  # hash of what is sent: the same is not queued twice
    must("order_hash", BigInteger),
    must("lane", BigInteger),  # hash of channel and destination
    must("state", Text),
    must("attempts", Integer, server_default=text("0")),  # all that were begun
    must("tries", Integer, server_default=text("0")),  # those that count towards giving up
    must("created", INSTANT),
    may("due", INSTANT),
    may("finished", INSTANT),
    may("reason", Text),  # in our words alone: what the receiver said stands sealed in its attempt
    may("control_id", Text),
    may("message_type", Text),
    may("trigger", Text),
    may("refs", JSONB),  # the versions of resources that are sent
    may("payload", BYTEA),  # sealed; of what stands nowhere else
    PrimaryKeyConstraint("tenant_id", "id", "received", name="delivery_pkey"),
    UniqueConstraint(
        "tenant_id",
        "message_id",
        "channel",
        "destination",
        "content_key",
        "received",
        name="delivery_once_key",
    ),
    CheckConstraint("sends in ('message', 'resources', 'ack')", name="delivery_sends_check"),
    CheckConstraint(
        "state in ('queued', 'sending', 'done', 'held', 'failed', 'cancelled')", name="delivery_state_check"
    ),
    postgresql_partition_by="range (received)",
)
_OPEN = (delivery.c[c] for c in ("tenant_id", "destination", "state", "id"))
Index("delivery_open", *_OPEN, postgresql_where=text("state <> 'done'"))

delivery_attempt = Table(
    "delivery_attempt",
    metadata,
    tenant_id(),
    must("received", INSTANT),
    must("delivery_id", BigInteger),
    must("number", Integer),
    must("began", INSTANT),
    may("ended", INSTANT),  # null: under way, or its process ended
    may("outcome", Text),
    may("reason", Text),
    may("request", BYTEA),  # sealed, as far as it is kept; null: that of the attempt before
    must("request_bytes", Integer),
    may("answer", BYTEA),  # sealed, as far as it is kept
    must("answer_bytes", Integer, server_default=text("0")),
    PrimaryKeyConstraint("tenant_id", "delivery_id", "number", "received", name="delivery_attempt_pkey"),
    postgresql_partition_by="range (received)",
)

destination = Table(
    "destination",
    metadata,
    tenant_id(),
    must("channel", Text),
    must("name", Text),
    must("failures", Integer, server_default=text("0")),  # in a row
    may("closed_until", INSTANT),  # the breaker: nothing is sent before, then one probe
    may("stopped_by", BigInteger),  # the delivery for which all of it waits
    must("paused", Boolean, server_default=text("false")),
    may("reason", Text),
    must("changed", INSTANT),
    PrimaryKeyConstraint("tenant_id", "channel", "name", name="destination_pkey"),
)

secret = Table(
    "secret",
    metadata,
    tenant_id(),
    must("name", Text),
    must("value", BYTEA),  # sealed
    must("author", Text),
    must("changed", INSTANT),
    PrimaryKeyConstraint("tenant_id", "name", name="secret_pkey"),
)
