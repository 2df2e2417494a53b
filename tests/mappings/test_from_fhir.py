"""Resources of other servers: which one each is here, and what its references mean here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.from_fhir import Server, fields, from_fhir, local_id, order_key
from mappings.mapped import Unmapped, decode
from mappings.merge import merge

SERVER = Server("https://lab.example/fhir", frozenset(("Patient", "Observation", "Appointment")))
PATIENT = "https://lab.example/fhir/Patient/1"


def mapped(**resource: Any) -> dict[str, Any]:
    [entry] = from_fhir(json.dumps(resource).encode(), SERVER).entries
    return entry.resource


@given(st.text(), st.text())
def test_an_id_is_a_fhir_id_and_of_one_address_alone(one: str, two: str) -> None:
    assert 0 < len(local_id(one)) <= 64
    assert local_id(one).replace("-", "").isalnum()
    assert (local_id(one) == local_id(two)) is (one == two)


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("Patient/1", f"Patient/{local_id(PATIENT)}"),
        ("Patient/1/_history/3", f"Patient/{local_id(PATIENT)}"),
        (PATIENT, f"Patient/{local_id(PATIENT)}"),
        ("Practitioner/7", "https://lab.example/fhir/Practitioner/7"),
        ("https://other.example/fhir/Patient/1", "https://other.example/fhir/Patient/1"),
        ("https://lab.example/fhir2/Patient/1", "https://lab.example/fhir2/Patient/1"),
        ("#contained", "#contained"),
        ("urn:uuid:0f4c2f5e-0a3f-4d53-8c1e-111111111111", "urn:uuid:0f4c2f5e-0a3f-4d53-8c1e-111111111111"),
        ("Patient?identifier=1", "Patient?identifier=1"),
    ],
)
def test_what_a_reference_means_here(there: str, here: str) -> None:
    found = mapped(
        resourceType="Observation",
        id="5",
        subject={"reference": there},
        extension=[{"url": "x", "valueReference": {"reference": there, "display": there}}],
    )
    assert found["subject"]["reference"] == found["extension"][0]["valueReference"]["reference"] == here
    assert found["extension"][0]["valueReference"]["display"] == there


def test_all_of_a_patient_is_worked_in_one_order() -> None:
    about = [
        {"resourceType": "Patient", "id": "1"},
        {"resourceType": "Observation", "id": "5", "subject": {"reference": "Patient/1"}},
        {"resourceType": "Coverage", "id": "5", "beneficiary": {"reference": PATIENT}},
        {"resourceType": "Task", "id": "5", "for": {"reference": "Patient/1/_history/2"}},
        {"resourceType": "Appointment", "id": "5", "participant": [{"actor": {"reference": "Location/1"}},
                                                                   {"actor": {"reference": "Patient/1"}}]},
    ]  # fmt: skip
    assert {order_key(one, SERVER) for one in about} == {f"patient|{PATIENT}"}
    assert order_key({"resourceType": "Organization", "id": "9"}, SERVER) != f"patient|{PATIENT}"


def test_a_patient_is_looked_up_by_its_numbers() -> None:
    patient = {"resourceType": "Patient", "id": "1", "identifier": [{"system": "urn:mrn", "value": "8812"}, {"x": 1}]}
    assert fields(patient, SERVER).patients == (("", SERVER.base, "1"), ("", "urn:mrn", "8812"))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b'"x"', b'{"resourceType": "Patient"}', b'{"resourceType": "Patient", "id": "a/../b"}',
        b'{"resourceType": "Device", "id": "1"}', b'{"resourceType": 5, "id": "1"}', b'{"id": "1"}', b"\xff",
    ],
)  # fmt: skip
def test_what_cannot_be_told_apart_is_refused(body: bytes) -> None:
    with pytest.raises(Unmapped):
        from_fhir(body, SERVER)


def test_odd_values_stay_for_the_check_of_structures_to_refuse() -> None:
    assert mapped(resourceType="Observation", id="5", meta=[1], subject={"reference": 5})["subject"] == {"reference": 5}


def test_a_newer_version_replaces_an_older_one_does_not_and_the_same_makes_none() -> None:
    def entry(moment: str, **more: Any) -> Any:
        body = {"resourceType": "Patient", "id": "1", "meta": {"lastUpdated": moment, "versionId": "7"}, **more}
        return from_fhir(json.dumps(body).encode(), SERVER).entries[0]

    stored = decode(json.dumps(entry("2026-03-01T12:00:00Z", gender="male", active=True).resource).encode())
    stored["meta"] |= {"versionId": "1", "lastUpdated": "2026-03-02T00:00:00Z"}
    newer = merge(stored, entry("2026-03-01T13:00:00Z", gender="female"))
    assert (newer["gender"], "active" in newer, newer["id"]) == ("female", False, stored["id"])
    assert merge(stored, entry("2026-03-01T11:00:00Z", gender="female")) is stored
    assert merge(stored, entry("2026-03-01T13:00:00Z", gender="male", active=True)) is stored
