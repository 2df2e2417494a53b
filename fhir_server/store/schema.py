"""The tables, as the sum of the migrations leaves them; a test holds the two against each other.

Every table of a tenant leads its keys with `tenant_id`, so that it can be distributed by tenant, and stands under
row-level security. The few that do not are listed here, and hold nothing of a patient.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB, TSVECTOR

from fhir_server.store import (
    schema_access,
    schema_audit,
    schema_care,
    schema_deliveries,
    schema_engine,
    schema_oauth,
    schema_people,
    schema_sessions,
    schema_vault,
    schema_watch,
)
from fhir_server.store.columns import INSTANT, NOW, may, must, tenant_id
from fhir_server.store.columns import metadata as metadata
from fhir_server.store.rids import RID_BLOCK

# Without row-level security: who the tenants are, what proves them, the queue's tickets, the migrations' mark.
WITHOUT_RLS = frozenset(
    {"tenant", "installation", "signing_key", "job_ticket", "job_attempt", "alembic_version", "person", "membership"}
    | {"data_key"}
    | {*schema_sessions.OPEN, *schema_audit.OPEN, *schema_watch.OPEN}
)
# The modules that declare the rest of the tables.
MORE = (
    schema_access, schema_audit, schema_engine, schema_deliveries, schema_care, schema_oauth, schema_people,
    schema_sessions, schema_vault, schema_watch,
)  # fmt: skip
# Partitioned by day, in UTC, with a default partition for what falls outside.
BY_DAY = ("inbox", "audit", "message_key", "delivery", "delivery_attempt")
# Under row-level security an index serves only operators marked as telling nothing of the rows they refuse.
LEAKPROOF = (
    "pg_catalog.arraycontains(anyarray, anyarray)",
    "pg_catalog.arrayoverlap(anyarray, anyarray)",
    "pg_catalog.int8xor(bigint, bigint)",
    "pg_catalog.ts_match_vq(tsvector, tsquery)",
)

# Resource numbers are handed out in blocks, so that a create needs no round trip for its own.
SEQUENCES = (
    Sequence("resource_rid", metadata=metadata, data_type=BigInteger, increment=RID_BLOCK),
    Sequence("inbox_id", metadata=metadata, data_type=BigInteger),
    Sequence("job_id", metadata=metadata, data_type=BigInteger),
    Sequence("job_ticket_id", metadata=metadata, data_type=BigInteger),
    Sequence("audit_id", metadata=metadata, data_type=BigInteger),
    Sequence("alert_id", metadata=metadata, data_type=BigInteger),
)


# ---- the listed few: no row-level security ----------------------------------------------------------------------

tenant = Table(
    "tenant",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    must("name", Text),  # stands in every address
    must("settings", JSONB, server_default=text("'{}'::jsonb")),
    must("created", INSTANT, server_default=NOW),
    must("search_generation", BigInteger, server_default=text("0")),  # of its own search parameters
    must("channel_generation", BigInteger, server_default=text("0")),  # grows when one of its channels changes
    UniqueConstraint("name", name="tenant_name_key"),
    CheckConstraint("name ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="tenant_name_check"),
)

installation = Table(
    "installation",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    must("secret", BYTEA),  # keys the hashes of the search index; without it the index finds nothing
    must("created", INSTANT, server_default=NOW),
    may("master_check", BYTEA),  # tells the master key that wraps the data keys from any other
    CheckConstraint("id = 1", name="installation_id_check"),
)

signing_key = Table(
    "signing_key",
    metadata,
    Column("tenant_id", Integer, ForeignKey("tenant.id", name="signing_key_tenant_id_fkey"), nullable=False),
    must("kid", Text),
    must("alg", Text),
    must("jwk", JSONB),  # the private key: https://www.rfc-editor.org/rfc/rfc7517
    must("created", INSTANT, server_default=NOW),
    may("retired", INSTANT),  # signs no more, verifies still
    may("revoked", INSTANT),  # verifies no more either
    PrimaryKeyConstraint("tenant_id", "kid", name="signing_key_pkey"),
)

job_ticket = Table(
    "job_ticket",
    metadata,
    must("id", BigInteger, server_default=text("nextval('job_ticket_id'::regclass)")),
    tenant_id(),
    must("kind", SmallInteger),  # tickets.MESSAGE or tickets.JOB
    may("received", INSTANT),  # with `target`, the key of the message
    must("target", BigInteger),  # id of the message or of the job
    must("order_hash", BigInteger),  # tickets of one tenant and hash go one after the other
    must("queued", INSTANT),
    may("due", INSTANT),  # null: an earlier ticket of its order stands before it
    may("lane", BigInteger),  # of a delivery: hash of its destination
    may("rank", INSTANT),  # by which the due are taken; null: it waits, or is tried again
    must("ahead", Integer, server_default=text("0")),  # seconds by which it goes before others
    may("also", ARRAY(BigInteger)),  # further orders, in each of which a ticket of kind 0 stands for it
    # No index on the id alone: the planner would walk it to find the first of an order.
    PrimaryKeyConstraint("tenant_id", "order_hash", "id", name="job_ticket_pkey"),
)
Index("job_ticket_due", *(job_ticket.c[c] for c in ("kind", "due", "id")), postgresql_where=text("due is not null"))
_LANE = (job_ticket.c[c] for c in ("kind", "lane", "due", "id"))
Index("job_ticket_lane", *_LANE, postgresql_where=text("lane is not null and due is not null"))
Index("job_ticket_ready", *(job_ticket.c[c] for c in ("kind", "rank", "id")), postgresql_where=text("rank is not null"))
_LATE = text("rank is null and due is not null")
Index("job_ticket_late", *(job_ticket.c[c] for c in ("kind", "due", "id")), postgresql_where=_LATE)

# ---- resources --------------------------------------------------------------------------------------------------

resource = Table(
    "resource",
    metadata,
    tenant_id(),
    must("rid", BigInteger),
    must("type", SmallInteger),  # conformance.r4.types
    must("id", Text),
    must("version", Integer),
    must("updated", INSTANT),
    must("self_key", BigInteger),
    must("keys", ARRAY(BigInteger)),  # tokens, references and URIs as hashes; '{}' once deleted
    may("body", BYTEA),  # the bytes that are sent; null once deleted
    must("codec", SmallInteger, server_default=text("0")),  # how `body` is stored; 0 plain
    must("narrow_hash", BigInteger, server_default=text("0")),  # of its entries in the narrow tables; 0 none
    may("patient", BigInteger),  # self_key of the Patient whose compartment it is in
    may("cases", ARRAY(BigInteger)),
    may("class", SmallInteger),
    may("released_at", INSTANT),
    PrimaryKeyConstraint("tenant_id", "rid", name="resource_pkey"),
    UniqueConstraint("tenant_id", "type", "id", name="resource_type_id_key"),
    UniqueConstraint("tenant_id", "self_key", name="resource_self_key_key"),
)
# Both ascending, so that a row-value comparison pages either way.
Index("resource_updated", resource.c.tenant_id, resource.c.type, resource.c.updated, resource.c.rid)
# What was deleted, so that all that is there can be counted without looking at a row.
Index("resource_deleted", resource.c.tenant_id, resource.c.type, postgresql_where=text("body is null"))
# What belongs to a case, which is the lesser part.
Index(
    "resource_cases",
    resource.c.cases,
    postgresql_using="gin",
    postgresql_with={"fastupdate": "off"},
    postgresql_where=text("cases is not null"),
)
# A pending list makes the index cheap to write and its cost unforeseeable to read.
Index("resource_keys", resource.c["keys"], postgresql_using="gin", postgresql_with={"fastupdate": "off"})

resource_history = Table(
    "resource_history",
    metadata,
    tenant_id(),
    must("rid", BigInteger),
    must("version", Integer),
    must("type", SmallInteger),
    must("updated", INSTANT),
    may("body", BYTEA),  # null: this version was a delete
    must("codec", SmallInteger, server_default=text("0")),
    PrimaryKeyConstraint("tenant_id", "rid", "version", name="resource_history_pkey"),
)
Index("resource_history_updated", *(resource_history.c[c] for c in ("tenant_id", "type", "updated", "rid", "version")))

idx_date = Table(
    "idx_date",
    metadata,
    tenant_id(),
    must("param", Integer),
    must("lo", INSTANT),
    must("hi", INSTANT),
    must("rid", BigInteger),
)
Index("idx_date_lo", *(idx_date.c[c] for c in ("tenant_id", "param", "lo", "rid")), postgresql_include=["hi"])
Index("idx_date_rid", idx_date.c.tenant_id, idx_date.c.rid)

idx_string = Table(
    "idx_string",
    metadata,
    tenant_id(),
    must("param", Integer),
    must("value", Text(collation="C")),  # case and accents folded before it comes here
    must("rid", BigInteger),
)
Index("idx_string_value", *(idx_string.c[c] for c in ("tenant_id", "param", "value", "rid")))
Index("idx_string_rid", idx_string.c.tenant_id, idx_string.c.rid)

idx_number = Table(
    "idx_number",
    metadata,
    tenant_id(),
    must("param", Integer),
    must("lo", Double),
    must("hi", Double),
    must("rid", BigInteger),
)
Index("idx_number_lo", *(idx_number.c[c] for c in ("tenant_id", "param", "lo", "rid")), postgresql_include=["hi"])
Index("idx_number_rid", idx_number.c.tenant_id, idx_number.c.rid)

# An element that repeats, such as Observation.component, with what a composite parameter asks of it together.
idx_composite = Table(
    "idx_composite",
    metadata,
    tenant_id(),
    must("key", BigInteger),  # hash of its codes and references together, and of its unit
    must("lo", Double),
    must("hi", Double),
    must("lo2", Double),
    must("hi2", Double),
    must("value", Text(collation="C")),
    must("keys", ARRAY(BigInteger)),  # every form of its codes and units
    must("rid", BigInteger),
)
_KEYED = (idx_composite.c[c] for c in ("tenant_id", "key", "lo"))
Index("idx_composite_key", *_KEYED, postgresql_include=["hi", "rid"])
Index("idx_composite_hi", *(idx_composite.c[c] for c in ("tenant_id", "key", "hi")))
Index("idx_composite_rid", idx_composite.c.tenant_id, idx_composite.c.rid)

# The contents of Binaries: announced before the object is written, used once a resource has it.
binary_object = Table(
    "binary_object",
    metadata,
    tenant_id(),
    must("key", BYTEA),  # keyed hash of tenant and content: the name of the object
    must("size", BigInteger),
    must("touched", INSTANT),  # when it was last announced
    must("used", Boolean, server_default=text("false")),
    PrimaryKeyConstraint("tenant_id", "key", name="binary_object_pkey"),
)
Index("binary_object_unused", binary_object.c.tenant_id, binary_object.c.touched, postgresql_where=text("not used"))

search_parameter = Table(
    "search_parameter",
    metadata,
    tenant_id(),
    must("id", Text),  # of the SearchParameter resource
    must("generation", BigInteger),  # tenant.search_generation, as of which it is what it is
    must("definition", JSONB),
    must("types", ARRAY(SmallInteger)),  # conformance.r4.types
    must("created", INSTANT),
    may("started", INSTANT),
    may("finished", INSTANT),  # null: not every resource is indexed by it yet
    PrimaryKeyConstraint("tenant_id", "id", name="search_parameter_pkey"),
)

# How far all resources of a type are indexed anew: by parameters of `finished` they are, by those of `wanted` not yet.
search_pass = Table(
    "search_pass",
    metadata,
    tenant_id(),
    must("type", SmallInteger),
    must("wanted", BigInteger),
    must("passing", BigInteger, server_default=text("0")),  # above `finished` while a pass is under way
    must("finished", BigInteger, server_default=text("0")),
    must("after", Text, server_default=text("''")),  # ids up to this one are done in this pass
    must("done", BigInteger, server_default=text("0")),
    may("total", BigInteger),  # null: not counted yet
    must("failed", BigInteger, server_default=text("0")),  # resources that could not be read
    PrimaryKeyConstraint("tenant_id", "type", name="search_pass_pkey"),
)

# The words of a resource, each led by its tenant, its type and the section it is of.
idx_text = Table(
    "idx_text",
    metadata,
    tenant_id(),
    must("words", TSVECTOR),
    must("rid", BigInteger),
)
_PENDING = {"gin_pending_list_limit": "256"}
Index("idx_text_words", idx_text.c.words, postgresql_using="gin", postgresql_with=_PENDING)
Index("idx_text_rid", idx_text.c.tenant_id, idx_text.c.rid)

# ---- messages and jobs ------------------------------------------------------------------------------------------

inbox = Table(
    "inbox",
    metadata,
    tenant_id(),
    must("received", INSTANT),
    must("id", BigInteger, server_default=text("nextval('inbox_id'::regclass)")),
    must("channel", Text),
    may("sender_app", Text),  # MSH-3
    may("sender_facility", Text),  # MSH-4
    may("control_id", Text),  # MSH-10
    may("message_type", Text),  # MSH-9.1
    may("trigger", Text),  # MSH-9.2
    must("order_key", BigInteger),
    may("order_text", Text),
    must("state", Text),
    must("reused_id", SmallInteger, server_default=text("0")),  # 1: the control id came before with other content
    must("attempts", Integer, server_default=text("0")),
    may("due", INSTANT),
    may("reason", JSONB),  # the issues, FHIR's way
    must("raw", BYTEA),
    must("content_hash", BYTEA),
    may("ack", BYTEA),
    may("peer", Text),
    may("processed", INSTANT),
    may("result", JSONB),  # references of what was written
    must("codec", SmallInteger, server_default=text("0")),  # how `raw`, `ack` and `fields` are stored; 0 plain
    may("kind", BigInteger),  # of message_kind; null: its fields were not read yet
    may("fields", BYTEA),  # numbers of its patients and orders
    may("also", ARRAY(BigInteger)),  # further orders that it is of
    must("ahead", Integer, server_default=text("86400")),  # head start of its priority, in seconds
    PrimaryKeyConstraint("tenant_id", "id", "received", name="inbox_pkey"),
    CheckConstraint("state in ('received', 'done', 'buried', 'rejected', 'quarantined')", name="inbox_state_check"),
    postgresql_partition_by="range (received)",
)
Index("inbox_control_id", inbox.c.tenant_id, inbox.c.control_id)
Index("inbox_state", *(inbox.c[c] for c in ("tenant_id", "state", "received", "id")))
Index("inbox_kind", *(inbox.c[c] for c in ("tenant_id", "kind", "state", "received", "id")))
Index("inbox_unread", inbox.c.tenant_id, inbox.c.received, postgresql_where=text("kind is null"))

message_seen = Table(
    "message_seen",
    metadata,
    tenant_id(),
    must("control_key", BYTEA),  # hash of MSH-3, MSH-4 and MSH-10
    must("content_hash", BYTEA),
    must("received", INSTANT),
    must("message_id", BigInteger),
    PrimaryKeyConstraint("tenant_id", "control_key", "content_hash", name="message_seen_pkey"),
)
Index("message_seen_received", message_seen.c.tenant_id, message_seen.c.received)

job = Table(
    "job",
    metadata,
    tenant_id(),
    must("id", BigInteger, server_default=text("nextval('job_id'::regclass)")),
    must("kind", Text),
    must("payload", JSONB),
    must("state", Text),
    must("attempts", Integer, server_default=text("0")),
    must("created", INSTANT),
    may("finished", INSTANT),
    may("reason", JSONB),
    PrimaryKeyConstraint("tenant_id", "id", name="job_pkey"),
    CheckConstraint("state in ('queued', 'done', 'buried')", name="job_state_check"),
)

load_mark = Table(
    "load_mark",
    metadata,
    tenant_id(),
    must("source", BYTEA),  # hash of what is loaded
    must("first", BigInteger),  # items of it, `first` to `last`, that are in
    must("last", BigInteger),
    PrimaryKeyConstraint("tenant_id", "source", "first", name="load_mark_pkey"),
)
