"""Modifiers of search parameters. http://hl7.org/fhir/R4/search.html#modifiers"""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.errors import Invalid
from fhir_server.search.hashing import param_id
from fhir_server.search.kinds import long_param_id, salted, text_param_id
from fhir_server.search.modify import modifiers
from fhir_server.search.text import MAX_LENGTH, entry
from tests.search.world import finds, registry, search

MR = "http://terminology.hl7.org/CodeSystem/v2-0203"
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "identifier": [{"system": "urn:mrn", "value": "M1", "type": {"coding": [{"system": MR, "code": "MR"}]}}],
    "name": [{"family": "Müller", "given": ["Ann Marie"]}],
    "gender": "female",
    "birthDate": "1980-02-03",
    "maritalStatus": {"text": "Married"},
    "generalPractitioner": [{"identifier": {"system": "urn:npi", "value": "77"}}],
}
SET: dict[str, Any] = {"resourceType": "ValueSet", "status": "draft", "url": "http://acme.org/fhir/ValueSet/123"}
RESULT: dict[str, Any] = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"coding": [{"system": "urn:l", "code": "1", "display": "Hémoglobin A1c"}], "text": "HbA1c"},
}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("gender:not", "male", True),
        ("gender:not", "female", False),
        ("gender:not", "male,female", False),
        ("phone:not", "home|1", True),  # absent
        ("_id:not", "1", False),
        ("_id:not", "2", True),
        ("gender:missing", "false", True),
        ("gender:missing", "true", False),
        ("phone:missing", "true", True),
        ("family:missing", "false", True),
        ("address:missing", "true", True),
        ("birthdate:missing", "false", True),
        ("death-date:missing", "true", True),
        ("general-practitioner:missing", "false", True),
        ("organization:missing", "true", True),
        ("_profile:missing", "true", True),
        ("_id:missing", "true", False),
        ("family:exact", "Müller", True),
        ("family:exact", "müller", False),
        ("family:exact", "Muller", False),
        ("family:exact", "Müll", False),
        ("given:exact", "Ann Marie", True),
        ("given:exact", "Ann  Marie", False),
        ("given:contains", "MARI", True),
        ("given:contains", "n m", True),
        ("given:contains", "mary", False),
        ("general-practitioner:identifier", "urn:npi|77", True),
        ("general-practitioner:identifier", "77", True),
        ("general-practitioner:identifier", "urn:mrn|77", False),
        ("identifier:of-type", f"{MR}|MR|M1", True),
        ("identifier:of-type", f"{MR}|MR|M2", False),
        ("identifier:of-type", f"{MR}|SS|M1", False),
    ],
)
def test_a_modifier_changes_what_is_found(name: str, value: str, expected: bool) -> None:
    assert finds(PATIENT, (name, value)) is expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("code:text", "hemo", True),
        ("code:text", "hba1c", True),
        ("code:text", "A1c", False),
        ("combo-code:text", "hba", True),
        ("value-concept:text", "hba", False),
    ],
)
def test_text_is_what_people_read_for_a_code(name: str, value: str, expected: bool) -> None:
    assert finds(RESULT, (name, value)) is expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("url:below", "http://acme.org/fhir", True),
        ("url:below", "http://acme.org/fhir/", True),
        ("url:below", "http://acme.org/fhir/ValueSet/123", True),
        ("url:below", "http://acme.org/fhir/ValueSet/12", False),
        ("url:below", "http://acme.org/FHIR", False),
        ("url:below", "urn:oid:1", False),
        ("url:above", "http://acme.org/fhir/ValueSet/123/_history/5", True),
        ("url:above", "http://acme.org/fhir/ValueSet/123", True),
        ("url:above", "http://acme.org/fhir/ValueSet/12", False),
        ("url:above", "http://acme.org", False),
    ],
)
def test_urls_are_above_and_below_each_other_by_whole_segments(name: str, value: str, expected: bool) -> None:
    assert finds(SET, (name, value)) is expected


def test_a_text_too_long_for_the_index_is_still_told_from_another() -> None:
    long = "Ä" * (MAX_LENGTH + 100)
    patient = {"resourceType": "Patient", "name": [{"family": long}]}
    assert finds(patient, ("family:exact", long))
    assert not finds(patient, ("family:exact", long[:-1]))
    assert len(entry("山" * 9999).encode()) < 2000


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("Patient", "gender:missing", "yes"),
        ("Patient", "gender:missing", "true,false"),
        ("Patient", "gender:in", "vs"),
        ("Patient", "gender:below", "male"),
        ("Patient", "identifier:in", "http://vs"),
        ("Patient", "active:not-in", "http://vs"),
        ("Patient", "gender:text", "f"),
        ("Patient", "gender:of-type", "a|b|c"),
        ("Patient", "identifier:of-type", "a|b"),
        ("Patient", "birthdate:exact", "1980"),
        ("Patient", "birthdate:not", "1980"),
        ("Patient", "family:not", "a"),
        ("Patient", "family:exact", " "),
        ("Patient", "organization:Patient", "1"),
        ("Patient", "_id:text", "1"),
        ("ValueSet", "url:contains", "a"),
    ],
)
def test_a_modifier_that_the_parameter_does_not_take_is_refused(kind: str, name: str, value: str) -> None:
    with pytest.raises(Invalid):
        search(kind, (name, value))


def test_no_two_numbers_of_the_narrow_tables_are_alike() -> None:
    found: dict[int, str] = {}
    for kind in sorted(registry()._by_type):
        for param in registry().for_type(kind).values():
            named = {
                param_id(kind, param.code): f"{kind}.{param.code}",
                long_param_id(kind, param.code): f"{kind}.{param.code}:long",
                **{text_param_id(kind, b): f"{kind}{b.path}:text" for b in param.branches if param.kind == "token"},
            }
            for number, name in named.items():
                assert found.setdefault(number, name) == name


def test_every_modifier_is_one_of_the_specification() -> None:
    known = {"missing", "not", "exact", "contains", "identifier", "of-type", "text", "above", "below", "in", "not-in"}
    for param in registry().for_type("Observation").values():
        assert modifiers(param) - known <= set(param.targets)
        assert param.code in salted(param)
