"""What FHIR's types and categories are called by people who are neither programmers nor physicians.

The categories that a scope may be narrowed by are those of US Core:
https://hl7.org/fhir/us/core/STU6.1/scopes.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from conformance.structures import STORABLE

# Kinds of data that somebody may want to keep back, each with its types; what stands in none is in the last.
CATEGORIES: dict[str, tuple[str, ...]] = {
    "Name, address, birth date and family contacts": ("Patient", "RelatedPerson", "Person"),
    "Allergies": ("AllergyIntolerance",),
    "Illnesses and diagnoses": ("Condition", "ClinicalImpression", "DetectedIssue", "AdverseEvent"),
    "Illnesses in the family": ("FamilyMemberHistory",),
    "Medicines": (
        "Medication", "MedicationAdministration", "MedicationDispense", "MedicationRequest", "MedicationStatement",
    ),
    "Vaccinations": ("Immunization", "ImmunizationEvaluation", "ImmunizationRecommendation"),
    "Laboratory results, measurements and answers": (
        "Observation", "DiagnosticReport", "Specimen", "MolecularSequence", "QuestionnaireResponse", "RiskAssessment",
    ),
    "Images": ("ImagingStudy", "Media"),
    "Operations, treatments and devices": (
        "Procedure", "BodyStructure", "Device", "DeviceRequest", "DeviceUseStatement", "NutritionOrder",
        "SupplyDelivery", "SupplyRequest", "VisionPrescription",
    ),
    "Visits and appointments": (
        "Encounter", "EpisodeOfCare", "Appointment", "AppointmentResponse", "Schedule", "Slot",
    ),
    "Letters, notes and documents": ("DocumentReference", "DocumentManifest", "Composition", "Binary"),
    "Plans, goals and orders": (
        "CarePlan", "CareTeam", "Goal", "ServiceRequest", "RequestGroup", "Task", "Flag", "List",
    ),
    "Messages": ("Communication", "CommunicationRequest"),
    "Insurance and bills": (
        "Account", "ChargeItem", "Claim", "ClaimResponse", "Contract", "Coverage", "CoverageEligibilityRequest",
        "CoverageEligibilityResponse", "EnrollmentRequest", "EnrollmentResponse", "ExplanationOfBenefit", "Invoice",
        "PaymentNotice", "PaymentReconciliation",
    ),
    "Consents, and who saw or wrote what": ("Consent", "AuditEvent", "Provenance"),
    "The clinic's people and places": (
        "Practitioner", "PractitionerRole", "Organization", "OrganizationAffiliation", "Location", "HealthcareService",
        "Endpoint",
    ),
}  # fmt: skip
REST = "Everything else"

_TITLES = {
    "*": "The whole record",
    "AllergyIntolerance": "Allergies",
    "AuditEvent": "Who saw the record",
    "Binary": "Files",
    "CarePlan": "Care plans",
    "CareTeam": "Who takes care of the patient",
    "Composition": "Documents",
    "Condition": "Illnesses and diagnoses",
    "Coverage": "Insurance",
    "Device": "Devices and implants",
    "DiagnosticReport": "Reports of examinations",
    "DocumentReference": "Letters and documents",
    "Encounter": "Visits",
    "EpisodeOfCare": "Cases",
    "ExplanationOfBenefit": "What the insurance paid",
    "FamilyMemberHistory": "Illnesses in the family",
    "Goal": "Goals",
    "ImagingStudy": "Images",
    "Immunization": "Vaccinations",
    "Location": "Places",
    "Medication": "Medicines",
    "MedicationAdministration": "Medicines that were given",
    "MedicationDispense": "Medicines that were handed out",
    "MedicationRequest": "Prescriptions",
    "MedicationStatement": "Medicines that are taken",
    "Observation": "Results and measurements",
    "Organization": "Organizations",
    "Patient": "Name, address and birth date",
    "Practitioner": "Physicians and other staff",
    "PractitionerRole": "What the staff do, and where",
    "Procedure": "Operations and treatments",
    "Provenance": "Who wrote the record",
    "QuestionnaireResponse": "Answers to questionnaires",
    "RelatedPerson": "Family and contacts",
    "ServiceRequest": "Orders and referrals",
    "Specimen": "Samples",
}
_CORE = "http://hl7.org/fhir/us/core/CodeSystem/"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
_OBSERVATION, _CONDITION = f"{_TERMINOLOGY}observation-category|", f"{_TERMINOLOGY}condition-category|"
# The kinds of a type that may be agreed to alone, each by the category that its rows have.
KINDS: dict[str, dict[str, str]] = {
    "Condition": {
        f"{_CONDITION}problem-list-item": "the list of problems",
        f"{_CONDITION}encounter-diagnosis": "diagnoses of visits",
        f"{_CORE}condition-category|health-concern": "concerns about health",
    },
    "Observation": {
        f"{_OBSERVATION}laboratory": "laboratory results",
        f"{_OBSERVATION}vital-signs": "vital signs: blood pressure, weight, temperature",
        f"{_OBSERVATION}procedure": "clinical tests",
        f"{_OBSERVATION}survey": "answers to surveys",
        f"{_OBSERVATION}social-history": "way of life: smoking, work, housing",
        f"{_CORE}us-core-category|sdoh": "social needs: food, transport, money",
    },
}
CATEGORY = "category"


def title(resource_type: str) -> str:
    """Return what a type is called: `ImmunizationEvaluation` is `Immunization evaluation`."""
    return _TITLES.get(resource_type) or re.sub(r"(?<=[a-z])([A-Z])", _small, resource_type)


def narrowed(resource_type: str, params: Sequence[tuple[str, str]]) -> str:
    """Return what a scope is narrowed to, in words where there are some; "" where it is not narrowed."""
    known = KINDS.get(resource_type, {})
    return " and ".join(
        known[value] if name == CATEGORY and value in known else f"{name} {value}" for name, value in params
    )


def categories() -> dict[str, tuple[str, ...]]:
    """Return every category with its types: each storable type stands in one of them."""
    placed = {name for types in CATEGORIES.values() for name in types}
    return {**CATEGORIES, REST: tuple(sorted(set(STORABLE) - placed))}


def _small(found: re.Match[str]) -> str:
    return f" {found[1].lower()}"
