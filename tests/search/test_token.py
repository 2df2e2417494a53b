"""Tokens by code, system, both and neither. http://hl7.org/fhir/R4/search.html#token"""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.errors import Invalid
from tests.search.world import finds, index, search

LOINC = "http://loinc.org"
GENDER = "http://hl7.org/fhir/administrative-gender"
OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"coding": [{"system": LOINC, "code": "8302-2"}, {"code": "Local"}], "text": "Height"},
    "category": [
        {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "exam"}]}
    ],
    "method": {"text": "by eye"},
}
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "active": True,
    "gender": "female",
    "identifier": [{"system": "urn:a", "value": "Ab|1"}, {"value": "bare"}, {"system": "urn:only"}],
    "telecom": [
        {"system": "phone", "use": "home", "value": "+41 44"},
        {"system": "email", "value": "Anna@Example.org"},
    ],
    "meta": {"tag": [{"system": "urn:t", "code": "x"}], "security": [{"code": "R"}]},
}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (f"{LOINC}|8302-2", True), ("8302-2", True), (f"{LOINC}|", True), ("|8302-2", False), (f"{LOINC}|Local", False),
        ("|Local", True), ("Local", True), ("local", True), ("|LOCAL", True), ("urn:b|8302-2", False),
        ("urn:b|", False),
        (f"x,{LOINC}|8302-2", True), ("x,y", False), ("Height", False),
    ],
)  # fmt: skip
def test_a_concept_is_found_by_each_of_its_codings(value: str, found: bool) -> None:
    assert finds(OBSERVATION, ("code", value)) is found


def test_two_parameters_of_one_name_must_both_hold() -> None:
    assert finds(OBSERVATION, ("code", "8302-2"), ("code", "Local"))
    assert not finds(OBSERVATION, ("code", "8302-2"), ("code", "other"))


def test_case_counts_where_the_code_system_says_so() -> None:
    assert not finds(OBSERVATION, ("category", "http://terminology.hl7.org/CodeSystem/observation-category|EXAM"))
    assert finds(OBSERVATION, ("category", "EXAM"))
    other = {**OBSERVATION, "code": {"coding": [{"system": LOINC, "code": "la6576-8"}]}}
    assert finds(other, ("code", f"{LOINC}|LA6576-8"))


@pytest.mark.parametrize(
    ("param", "value", "found"),
    [
        ("identifier", r"urn:a|Ab\|1", True), ("identifier", r"Ab\|1", True), ("identifier", "urn:a|", True),
        ("identifier", r"urn:a|ab\|1", False), ("identifier", r"AB\|1", False), ("identifier", r"|Ab\|1", False),
        ("identifier", "|bare", True), ("identifier", "bare", True), ("identifier", "urn:only|", True),
        ("gender", "female", True), ("gender", f"{GENDER}|female", True), ("gender", "urn:x|female", False),
        ("gender", f"{GENDER}|", True), ("gender", f"{GENDER}|male", False), ("gender", "|female", True),
        ("gender", "urn:x|", False), ("gender", "male,female", True),
        ("active", "true", True), ("active", "false", False), ("deceased", "false", True), ("deceased", "true", False),
        ("active", "http://terminology.hl7.org/CodeSystem/special-values|true", True), ("active", "urn:x|true", False),
        ("telecom", "+41 44", True), ("telecom", "home|+41 44", True), ("telecom", "phone|+41 44", True),
        ("telecom", "work|+41 44", False), ("email", "anna@example.org", True), ("phone", "anna@example.org", False),
        ("_tag", "urn:t|x", True), ("_tag", "x", True), ("_security", "|R", True), ("_security", "urn:s|R", False),
        ("_id", "1", True), ("_id", "2,1", True), ("_id", "2", False),
    ],
)  # fmt: skip
def test_each_type_of_value_is_found_as_the_table_of_tokens_says(param: str, value: str, found: bool) -> None:
    assert finds(PATIENT, (param, value)) is found


def test_a_deceased_date_means_deceased() -> None:
    assert finds({"resourceType": "Patient", "deceasedDateTime": "2024"}, ("deceased", "true"))


@pytest.mark.parametrize("value", ["|", "a|b|c", "", ",", "a,", ",a"])
def test_a_token_without_content_is_refused(value: str) -> None:
    with pytest.raises(Invalid, match="code"):
        search("Observation", ("code", value))


def test_a_boolean_is_true_or_false() -> None:
    with pytest.raises(Invalid, match="true or false"):
        search("Patient", ("active", "yes"))


def test_a_code_from_a_value_set_that_cannot_be_listed_is_found_under_any_system() -> None:
    patient = {
        "resourceType": "DocumentReference",
        "status": "current",
        "content": [{"attachment": {"contentType": "text/html"}}],
    }
    assert finds(patient, ("contenttype", "urn:ietf:bcp:13|text/html"))
    assert finds(patient, ("contenttype", "text/html"))


def test_another_tenant_has_other_keys_for_the_same_token() -> None:
    assert not set(index(PATIENT, tenant=1).keys) & set(index(PATIENT, tenant=2).keys)
