"""Whose a resource is, and of which class. http://hl7.org/fhir/R4/compartmentdefinition-patient.html"""

from __future__ import annotations

from typing import Any

import pytest

from conformance.r4.types import TYPE_CODES
from fhir_server.search.ownership import CLASSES, GUARDED, Class
from tests.search.world import BASE, TENANT, hasher, index

ANNA = hasher().self_key(TENANT, "Patient", "anna")
OBSERVATION: dict[str, Any] = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}


def test_a_patient_is_of_its_own_compartment() -> None:
    entries = index({"resourceType": "Patient"}, id_="anna")
    assert entries.patient == entries.self_key == ANNA


@pytest.mark.parametrize(
    ("more", "owner"),
    [
        ({"subject": {"reference": "Patient/anna"}}, ANNA),
        ({"subject": {"reference": f"{BASE}/Patient/anna"}}, ANNA),
        ({"subject": {"reference": "Patient/anna/_history/2"}}, ANNA),
        ({"performer": [{"reference": "Practitioner/p"}, {"reference": "Patient/anna"}]}, ANNA),
        ({"subject": {"reference": "Patient/anna"}, "performer": [{"reference": "Patient/bert"}]}, ANNA),
        ({"subject": {"reference": "Group/anna"}}, None),
        ({"subject": {"reference": "https://other.example/fhir/Patient/anna"}}, None),
        ({"subject": {"display": "Anna"}}, None),
        ({"focus": [{"reference": "Patient/anna"}]}, None),
        ({}, None),
    ],
)
def test_an_observation_is_of_the_patient_that_its_compartment_parameters_lead_to(
    more: dict[str, Any], owner: int | None
) -> None:
    entries = index({**OBSERVATION, **more})
    assert entries.patient == owner
    assert (ANNA in entries.keys) is (owner == ANNA)


def test_other_types_are_of_a_patient_by_their_own_parameters() -> None:
    coverage = {"resourceType": "Coverage", "status": "active", "payor": [{"display": "x"}]}
    assert index({**coverage, "beneficiary": {"reference": "Patient/anna"}}).patient == ANNA
    appointment = {"resourceType": "Appointment", "status": "booked"}
    actors = [{"status": "accepted", "actor": {"reference": f"{kind}/anna"}} for kind in ("Practitioner", "Patient")]
    assert index({**appointment, "participant": actors}).patient == ANNA
    assert index({"resourceType": "Organization", "active": True}).patient is None


def test_the_same_patient_id_in_another_tenant_is_another_patient() -> None:
    mine = {**OBSERVATION, "subject": {"reference": "Patient/anna"}}
    assert index(mine, tenant=1).patient != index(mine, tenant=2).patient


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ({"resourceType": "Patient"}, Class.DEMOGRAPHIC),
        (OBSERVATION, Class.CLINICAL),
        ({"resourceType": "Basic", "code": {"text": "x"}}, Class.CLINICAL),
        ({"resourceType": "Invoice", "status": "draft"}, Class.FINANCIAL),
        ({"resourceType": "Contract"}, Class.LEGAL),
        ({**OBSERVATION, "meta": {"security": [{"code": "PSYTHPN"}]}}, Class.PSYCH),
        ({**OBSERVATION, "meta": {"security": [{"code": "R"}, {"system": "urn:x", "code": "sud"}]}}, Class.PSYCH),
        ({**OBSERVATION, "meta": {"security": [{"code": "R"}, {"display": "x"}]}}, Class.CLINICAL),
        ({"resourceType": "Patient", "meta": {"security": [{"code": "HIV"}]}}, Class.PSYCH),
        ({**OBSERVATION, "meta": {"tag": [{"code": "PSYTHPN"}]}}, Class.CLINICAL),
    ],
)
def test_the_class_is_set_by_type_and_raised_by_a_guarded_label(resource: dict[str, Any], expected: Class) -> None:
    assert index(resource).class_ == expected


def test_a_documents_own_label_guards_it() -> None:
    document = {"resourceType": "DocumentReference", "status": "current", "content": [{"attachment": {"title": "x"}}]}
    assert index(document).class_ == Class.CLINICAL
    labelled = {**document, "securityLabel": [{"text": "x"}, {"coding": [{"code": "42CFRPart2"}]}]}
    assert index(labelled).class_ == Class.PSYCH


def test_classes_name_types_of_r4_and_keep_their_numbers() -> None:
    assert set(CLASSES) <= set(TYPE_CODES)
    assert [(item.name, int(item)) for item in Class] == [
        ("DEMOGRAPHIC", 1), ("CLINICAL", 2), ("FINANCIAL", 3), ("LEGAL", 4), ("PSYCH", 5),
    ]  # fmt: skip
    assert all(label == label.upper() for label in GUARDED)
