"""Whose a resource is, and of which class: the exact columns that permission rules look at.

http://hl7.org/fhir/R4/compartmentdefinition-patient.html · http://hl7.org/fhir/R4/security-labels.html
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from msgspec import UNSET

from conformance.fhirpath import Branch
from conformance.r4 import facts
from conformance.search_params import SearchParam
from fhir_server.search.reference import Place


class Class(IntEnum):
    """The number of a class in the database; these never change."""

    DEMOGRAPHIC = 1
    CLINICAL = 2
    FINANCIAL = 3
    LEGAL = 4
    PSYCH = 5


# A type that is not listed is clinical: what nobody thought of is guarded like a note.
CLASSES: Mapping[str, Class] = {
    **dict.fromkeys(
        (
            "Appointment",
            "AppointmentResponse",
            "Endpoint",
            "HealthcareService",
            "Location",
            "Organization",
            "OrganizationAffiliation",
            "Patient",
            "Person",
            "Practitioner",
            "PractitionerRole",
            "RelatedPerson",
            "Schedule",
            "Slot",
        ),
        Class.DEMOGRAPHIC,
    ),
    **dict.fromkeys(
        (
            "Account",
            "ChargeItem",
            "ChargeItemDefinition",
            "Claim",
            "ClaimResponse",
            "Coverage",
            "CoverageEligibilityRequest",
            "CoverageEligibilityResponse",
            "EnrollmentRequest",
            "EnrollmentResponse",
            "ExplanationOfBenefit",
            "InsurancePlan",
            "Invoice",
            "PaymentNotice",
            "PaymentReconciliation",
        ),
        Class.FINANCIAL,
    ),
    **dict.fromkeys(("Consent", "Contract", "EpisodeOfCare"), Class.LEGAL),
}
# What a document is for, as its category says: otherwise it is clinical.
DOCUMENTS = "urn:concord:CodeSystem:document-class"
_DOCUMENTS: Mapping[str, Class] = {"billing": Class.FINANCIAL, "intake": Class.DEMOGRAPHIC, "legal": Class.LEGAL}
# Labels of http://terminology.hl7.org/CodeSystem/v3-ActCode that need more than a role to be read: psychotherapy notes,
# mental health, substance use (42 CFR Part 2) and the other conditions that the law sets apart. The system is not
# looked at: a label of this name from anywhere closes the record.
GUARDED = frozenset(
    (
        "42CFRPART2",
        "BH",
        "COGN",
        "DVD",
        "EMOTDIS",
        "ETH",
        "ETHUD",
        "ETHUDANON",
        "GDIS",
        "HIV",
        "MH",
        "MST",
        "OPIOIDUD",
        "PSY",
        "PSYTHPN",
        "SCA",
        "SDV",
        "SEX",
        "SICKLE",
        "SPI",
        "STD",
        "SUD",
        "TBOO",
        "VIO",
    )
)


# R4 leaves them out of the Patient compartment, though each is of the one patient that its parameter names.
BESIDE: Mapping[str, tuple[str, ...]] = dict.fromkeys(("Contract", "Device", "Task"), ("patient",))


def class_of(resource_type: str, resource: Any) -> Class:
    """Return the class of a resource, by its type and by its security labels."""
    if not GUARDED.isdisjoint(label_codes(resource_type, resource)):
        return Class.PSYCH
    if resource_type != "DocumentReference":
        return CLASSES.get(resource_type, Class.CLINICAL)
    if resource.category is not UNSET:
        codes = {c.code for c in _codings(resource.category) if c.system == DOCUMENTS}
        # Of several, none is believed: what one kind of reader must not see would be opened by another's word.
        return _DOCUMENTS.get(codes.pop(), Class.CLINICAL) if len(codes) == 1 else Class.CLINICAL
    return Class.CLINICAL


def _codings(concepts: list[Any]) -> list[Any]:
    return [coding for concept in concepts if concept.coding is not UNSET for coding in concept.coding]


def label_codes(resource_type: str, resource: Any) -> list[str]:
    """Return the codes of the security labels of a resource, in capitals; their systems are not looked at."""
    meta = resource.meta
    labels = [] if meta is UNSET or meta.security is UNSET else list(meta.security)
    if resource_type == "DocumentReference" and resource.securityLabel is not UNSET:
        labels += [c for concept in resource.securityLabel if concept.coding is not UNSET for c in concept.coding]
    return [label.code.upper() for label in labels if label.code is not UNSET]


def patient_branches(resource_type: str, params: Mapping[str, SearchParam]) -> tuple[Branch, ...]:
    """Return the paths that may lead to the Patient whose compartment a resource is in, the first of them to count."""
    codes = facts.compartments()["Patient"].get(resource_type, BESIDE.get(resource_type, ()))
    return tuple(branch for code in codes if code in params for branch in params[code].branches)


def patient_of(place: Place, branches: tuple[Branch, ...], resource: Any) -> int | None:
    """Return the self_key of the first Patient of this tenant that the paths lead to."""
    for branch in branches:
        start = resource if branch.attribute is None else getattr(resource, branch.attribute)
        if start is UNSET:
            continue
        for value in branch.values(start):
            text = getattr(value, "reference", UNSET)
            if text is not UNSET and (found := place.local(text)) and found.type == "Patient":
                return place.self_key(found)
    return None
