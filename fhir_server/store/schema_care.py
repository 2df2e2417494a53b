"""Tables that rules of access look at: who cares for whom, cases, their attorneys, and what a patient released.

Persons are `person.id`; a practitioner, a patient and a case (its EpisodeOfCare) are the `self_key` of their resource.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    Index,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from fhir_server.store.columns import INSTANT, may, metadata, must, tenant_id

SEQUENCES = (Sequence("care_id", metadata=metadata, data_type=BigInteger),)

# A physician's own patients: derived from Encounters and Appointments as they are written, or assigned by a person.
care_relation = Table(
    "care_relation",
    metadata,
    tenant_id(),
    must("member", BigInteger),  # the Practitioner
    must("patient", BigInteger),
    must("kind", Text),
    must("valid_from", INSTANT),
    may("valid_to", INSTANT),  # null: until further notice
    must("source", BigInteger),  # self_key of the Encounter or Appointment, or the number of an assignment
    PrimaryKeyConstraint("tenant_id", "member", "patient", "source", "valid_from", name="care_relation_pkey"),
    CheckConstraint(
        "kind in ('encounter', 'appointment', 'assigned', 'cover', 'referral')", name="care_relation_kind_check"
    ),
)
Index("care_relation_patient", care_relation.c.tenant_id, care_relation.c.patient)
Index("care_relation_source", care_relation.c.tenant_id, care_relation.c.source)

# One row for each EpisodeOfCare, written with it.
clinic_case = Table(
    "clinic_case",
    metadata,
    tenant_id(),
    must("case_key", BigInteger),
    must("id", Text),  # of the EpisodeOfCare
    may("patient", BigInteger),
    may("number", Text),
    may("type", Text),
    may("accident_date", Date),
    may("accident_state", Text),
    must("status", Text),
    PrimaryKeyConstraint("tenant_id", "case_key", name="clinic_case_pkey"),
)
Index("clinic_case_patient", clinic_case.c.tenant_id, clinic_case.c.patient)
Index("clinic_case_number", clinic_case.c.tenant_id, clinic_case.c.number)

# What a person has put into a case where no encounter tells it.
case_assignment = Table(
    "case_assignment",
    metadata,
    tenant_id(),
    must("self_key", BigInteger),  # of the resource
    must("case_key", BigInteger),
    must("assigned", INSTANT),
    PrimaryKeyConstraint("tenant_id", "self_key", "case_key", name="case_assignment_pkey"),
)
Index("case_assignment_case", case_assignment.c.tenant_id, case_assignment.c.case_key)

# Attorneys come and go within a case: a change of firm ends one row and begins another.
case_attorney = Table(
    "case_attorney",
    metadata,
    tenant_id(),
    must("id", BigInteger, server_default=text("nextval('care_id'::regclass)")),
    must("case_key", BigInteger),
    must("person_id", BigInteger),
    must("role", Text),
    must("valid_from", INSTANT),
    may("valid_to", INSTANT),
    PrimaryKeyConstraint("tenant_id", "id", name="case_attorney_pkey"),
    CheckConstraint("role in ('lead', 'co-counsel', 'paralegal')", name="case_attorney_role_check"),
)
Index("case_attorney_person", *(case_attorney.c[c] for c in ("tenant_id", "person_id", "case_key")))
Index("case_attorney_case", case_attorney.c.tenant_id, case_attorney.c.case_key)

# A patient's authorization to show a case: 45 CFR 164.508 wants an end and lets the patient revoke it.
release_of_information = Table(
    "release_of_information",
    metadata,
    tenant_id(),
    must("id", BigInteger, server_default=text("nextval('care_id'::regclass)")),
    must("case_key", BigInteger),
    must("patient", BigInteger),
    may("person_id", BigInteger),  # the only recipient; null: every attorney of the case
    must("valid_from", INSTANT),
    must("expires", INSTANT),
    may("revoked_at", INSTANT),
    PrimaryKeyConstraint("tenant_id", "id", name="release_of_information_pkey"),
)
Index("release_of_information_case", *(release_of_information.c[c] for c in ("tenant_id", "case_key")))

# What patients deny, one row for each provision of a Consent that denies, and for each exception to one.
consent_rule = Table(
    "consent_rule",
    metadata,
    tenant_id(),
    must("patient", BigInteger),
    must("consent", BigInteger),  # self_key of the Consent
    must("n", SmallInteger),
    must("above", ARRAY(SmallInteger)),  # the provisions around it
    must("deny", Boolean),
    may("valid_from", INSTANT),
    may("valid_to", INSTANT),
    may("actors", ARRAY(BigInteger)),
    may("purposes", ARRAY(Text)),
    may("types", ARRAY(SmallInteger)),
    may("labels", ARRAY(BigInteger)),
    may("records", ARRAY(BigInteger)),
    may("data_from", INSTANT),
    may("data_to", INSTANT),
    must("made", INSTANT),
    may("mentions", ARRAY(BigInteger)),  # keys of references to whom or what is named
    PrimaryKeyConstraint("tenant_id", "patient", "consent", "n", name="consent_rule_pkey"),
)
Index("consent_rule_consent", consent_rule.c.tenant_id, consent_rule.c.consent)
