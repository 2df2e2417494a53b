"""The table of special access: broken glass and support sessions, each with its reason, its end and its review."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Index, PrimaryKeyConstraint, Table, Text

from fhir_server.store.columns import INSTANT, may, metadata, must, tenant_id

special_access = Table(
    "special_access",
    metadata,
    tenant_id(),
    must("id", Text),  # also that of its oauth_grant
    must("kind", Text),
    must("person_id", BigInteger),
    may("patient", BigInteger),  # self_key of the one Patient; null: a support session
    may("patient_id", Text),
    must("reason", Text),
    must("opened", INSTANT),
    must("expires", INSTANT),
    may("ended", INSTANT),
    may("reviewed", INSTANT),
    may("reviewer", Text),  # sub of the person who reviewed it
    may("justified", Boolean),
    may("note", Text),
    PrimaryKeyConstraint("tenant_id", "id", name="special_access_pkey"),
    CheckConstraint("kind in ('BTG', 'SUPPORT')", name="special_access_kind_check"),
    CheckConstraint("(kind = 'BTG') = (patient is not null)", name="special_access_patient_check"),
)
Index("special_access_opened", special_access.c.tenant_id, special_access.c.opened)
