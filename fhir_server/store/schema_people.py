"""Tables of people: who somebody is in this installation, and what in which clinic. Nothing of a patient."""

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
    Table,
    Text,
    UniqueConstraint,
    text,
)

from fhir_server.store.columns import INSTANT, NOW, may, metadata, must

ROLES = ("super-admin", "clinic-admin", "physician", "biller", "front-desk", "attorney")

person = Table(
    "person",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    must("sub", Text),  # stands in tokens; never given to another person
    must("email", Text),  # in lower case
    must("name", Text),
    may("password", Text),  # argon2id; null: none was chosen yet
    must("created", INSTANT, server_default=NOW),
    may("disabled", INSTANT),
    must("super_admin", Boolean, server_default=text("false")),  # of the installation, in no clinic by that alone
    UniqueConstraint("sub", name="person_sub_key"),
    UniqueConstraint("email", name="person_email_key"),
)

membership = Table(
    "membership",
    metadata,
    Column("tenant_id", Integer, ForeignKey("tenant.id", name="membership_tenant_id_fkey"), nullable=False),
    Column("person_id", BigInteger, ForeignKey("person.id", name="membership_person_id_fkey"), nullable=False),
    must("role", Text),
    may("reference", Text),  # who the person is in the clinic's records: Practitioner/…
    must("created", INSTANT, server_default=NOW),
    may("ended", INSTANT),
    PrimaryKeyConstraint("tenant_id", "person_id", name="membership_pkey"),
    CheckConstraint(f"role in {ROLES}", name="membership_role_check"),
)
Index("membership_person", membership.c.person_id)
