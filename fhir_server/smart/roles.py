"""What each of the six roles may see and do in a clinic, as one table: role, resource types, interactions, limit.

Rules only permit, and a row that one of them reaches is permitted: what no rule names, nobody with a role may see. What
guarded labels close (ownership.GUARDED) is of a class of its own, which most limits leave out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

from conformance.structures import STORABLE
from fhir_server.context import Role
from fhir_server.search.ownership import CLASSES, Class

Limit: TypeAlias = Literal[
    "all", "open", "care", "treating", "author", "assigned", "signed", "financial", "intake",
    "case-patients", "case", "case-financial", "case-legal", "case-own", "released",
]  # fmt: skip
# What a limit lets through, in words that a person is told.
SAYS: Mapping[Limit, str] = {
    "all": "all of them",
    "open": "all but what guarded labels close",
    "care": "those of patients in your care now, but for what guarded labels close",
    "treating": "what guarded labels close, of patients whom you treat now by an encounter or an assignment",
    "author": "what guarded labels close, where you are the author and the patient is in your care now",
    "assigned": "what guarded labels close, of patients who were assigned to you by name",
    "signed": "those that are signed, but for what guarded labels close",
    "financial": "those of billing",
    "intake": "those of intake and of the legal side",
    "case-patients": "the patients of your cases while a release of information is live",
    "case": "those of your cases while a release of information is live, but for what guarded labels close",
    "case-financial": "those of billing in your cases while a release of information is live",
    "case-legal": "those of the legal side in your cases while a release of information is live",
    "case-own": "those in your cases that you ask for or that are asked of you, while a release of information is live",
    "released": "those released to attorneys in your cases while a release of information is live",
}


class Rule(msgspec.Struct, frozen=True):
    """One row: `roles` may do `letters` (of cruds) with rows of these types, as far as the limit goes."""

    name: str
    roles: tuple[Role, ...]
    types: frozenset[str]
    letters: str
    limit: Limit

    @property
    def says(self) -> str:
        """Return the limit in words."""
        return SAYS[self.limit]


def _of(*names: str) -> frozenset[str]:
    return frozenset(names)


def _class(wanted: Class) -> frozenset[str]:
    return frozenset(name for name in STORABLE if CLASSES.get(name, Class.CLINICAL) == wanted)


PEOPLE = _of("Patient", "RelatedPerson", "Person")
CALENDAR = _of("Schedule", "Slot")
VISITS = _of("Appointment", "AppointmentResponse")
# Who and what there is: of no patient, and needed to understand any record.
DIRECTORY = _of(
    "Practitioner", "PractitionerRole", "Organization", "OrganizationAffiliation", "Location", "HealthcareService",
    "Endpoint", "InsurancePlan", "Medication", "MedicationKnowledge", "Substance", "DeviceDefinition",
    "SpecimenDefinition", "ObservationDefinition",
)  # fmt: skip
# What the record is made with: definitions and terminology, of no patient either.
KNOWLEDGE = _of(
    "ActivityDefinition", "CapabilityStatement", "ChargeItemDefinition", "CodeSystem", "CompartmentDefinition",
    "ConceptMap", "EventDefinition", "GraphDefinition", "ImplementationGuide", "Library", "Measure",
    "MessageDefinition", "NamingSystem", "OperationDefinition", "PlanDefinition", "Questionnaire", "SearchParameter",
    "StructureDefinition", "StructureMap", "TerminologyCapabilities", "ValueSet",
)  # fmt: skip
FEES = _of("ChargeItemDefinition")
MONEY = _class(Class.FINANCIAL) - DIRECTORY - FEES
LEGAL = _class(Class.LEGAL)
# What tells of others, of the server itself or of several patients at once: no record of one patient.
_APART = _of(
    "AuditEvent", "Bundle", "Group", "Linkage", "MessageHeader", "OperationOutcome", "Parameters", "Subscription",
    "Binary",
)  # fmt: skip
CLINICAL = _class(Class.CLINICAL) - DIRECTORY - KNOWLEDGE - _APART
# What a bill is made from and proven with: the minimum that a biller needs (45 CFR 164.502(b)).
BILLABLE = _of(
    "Condition", "DiagnosticReport", "DocumentReference", "Encounter", "ImagingStudy", "Immunization", "Observation",
    "Procedure", "ServiceRequest",
)  # fmt: skip
_EVERYTHING = frozenset(STORABLE)
_STAFF: tuple[Role, ...] = ("clinic-admin", "physician", "biller", "front-desk")

RULES: tuple[Rule, ...] = (
    Rule("directory", (*_STAFF, "attorney"), DIRECTORY, "rs", "all"),
    Rule("knowledge", _STAFF, KNOWLEDGE | CALENDAR, "rs", "all"),
    Rule("support.reads", ("super-admin",), _EVERYTHING, "rs", "open"),
    Rule("admin.reads", ("clinic-admin",), _EVERYTHING, "rs", "open"),
    Rule("admin.assigned", ("clinic-admin",), _EVERYTHING, "rs", "assigned"),
    Rule(
        "admin.keeps",
        ("clinic-admin",),
        PEOPLE | CALENDAR | VISITS | DIRECTORY | KNOWLEDGE | MONEY | LEGAL | _of("DocumentReference", "Task"),
        "cud",
        "open",
    ),
    Rule("physician.patients", ("physician",), PEOPLE | VISITS, "rs", "care"),
    Rule("physician.record", ("physician",), CLINICAL, "rs", "care"),
    Rule("physician.writes", ("physician",), CLINICAL - _of("Provenance"), "cu", "care"),
    Rule("physician.guarded", ("physician",), CLINICAL - _of("Provenance"), "crus", "treating"),
    Rule("physician.authored", ("physician",), CLINICAL, "rs", "author"),
    Rule("physician.case", ("physician",), LEGAL, "rs", "care"),
    Rule("physician.money", ("physician",), _of("Account", "ChargeItem", "Claim", "Coverage", "Invoice"), "rs", "care"),
    Rule("biller.patients", ("biller",), PEOPLE, "rs", "open"),
    Rule("biller.cases", ("biller",), _of("EpisodeOfCare", "Contract"), "crus", "open"),
    Rule("biller.money", ("biller",), MONEY, "cruds", "open"),
    Rule("biller.fees", ("biller",), FEES, "cu", "all"),
    Rule("biller.record", ("biller",), BILLABLE, "rs", "signed"),
    Rule("biller.documents", ("biller",), _of("DocumentReference"), "crus", "financial"),
    Rule("desk.people", ("front-desk",), PEOPLE | VISITS | _of("Coverage"), "crus", "open"),
    Rule("desk.calendar", ("front-desk",), CALENDAR, "cu", "all"),
    Rule("desk.cases", ("front-desk",), LEGAL, "crus", "open"),
    Rule("desk.totals", ("front-desk",), _of("Account", "Invoice"), "rs", "open"),
    Rule("desk.documents", ("front-desk",), _of("DocumentReference"), "crus", "intake"),
    Rule("attorney.patients", ("attorney",), _of("Patient"), "rs", "case-patients"),
    Rule("attorney.cases", ("attorney",), _of("EpisodeOfCare", "Contract"), "rs", "case"),
    Rule("attorney.money", ("attorney",), _of("Account", "Claim", "Invoice"), "rs", "case"),
    Rule("attorney.released", ("attorney",), CLINICAL, "rs", "released"),
    Rule("attorney.bills", ("attorney",), _of("DocumentReference"), "rs", "case-financial"),
    Rule("attorney.letters", ("attorney",), _of("DocumentReference"), "cr", "case-legal"),
    Rule("attorney.requests", ("attorney",), _of("Task"), "crus", "case-own"),
)


def _by_place(rules: Iterable[Rule]) -> Mapping[tuple[str, str, str], tuple[Rule, ...]]:
    found: dict[tuple[str, str, str], tuple[Rule, ...]] = {}
    for rule in rules:
        for place in ((role, name, letter) for role in rule.roles for name in rule.types for letter in rule.letters):
            found[place] = (*found.get(place, ()), rule)
    return found


_BY_PLACE = _by_place(RULES)


def rules_for(role: Role, resource_type: str, letter: str) -> tuple[Rule, ...]:
    """Return the rules by which a role may do this with some rows of a type; none where it may with no row."""
    return _BY_PLACE.get((role, resource_type, letter), ())
