"""References, canonicals and URIs. http://hl7.org/fhir/R4/search.html#reference"""

from __future__ import annotations

from typing import Any

import pytest

from conformance.references import literal, same_base, target_type
from fhir_server.errors import Invalid
from fhir_server.search.tree import AllKeys, AnyKey
from tests.search.world import BASE, TENANT, finds, hasher, index, search

URN = "urn:uuid:6f1cf0d4-8d0f-4b1e-9d3b-6a4a0bd0f3d7"


def observation(**subject: Any) -> dict[str, Any]:
    """Return an Observation of a subject."""
    return {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": subject}


@pytest.mark.parametrize(
    "written", ["Patient/a", f"{BASE}/Patient/a", "Patient/a/_history/3", f"{BASE}/Patient/a/_history/3"]
)
@pytest.mark.parametrize("sought", ["Patient/a", "a", f"{BASE}/Patient/a", "Patient/a/_history/9"])
def test_a_local_reference_is_found_however_it_is_written(written: str, sought: str) -> None:
    assert finds(observation(reference=written), ("subject", sought))
    assert finds(observation(reference=written), ("patient", sought))


@pytest.mark.parametrize(
    "written",
    [
        "HTTPS://Clinic.EXAMPLE:443/demo/fhir/Patient/a",
        f"{BASE}//Patient/a/",
        f"{BASE}/x/../Patient/%61",
        f"{BASE}/P%61tient/a#x",
        f" {BASE}/Patient/a?_format=json",
        "Patient/a/",
        "./Patient/a",
        "//clinic.example/demo/fhir/Patient/a",
    ],
)
def test_an_own_address_is_local_however_it_is_spelled(written: str) -> None:
    assert finds(observation(reference=written), ("patient", "Patient/a"))
    assert index(observation(reference=written)).patient == index(observation(reference="Patient/a")).patient


@pytest.mark.parametrize(
    ("given", "own", "same"),
    [
        ("HTTPS://Clinic.Example/a/fhir", "https://clinic.example/a/fhir", True),
        ("https://clinic.example:443/a/fhir", "https://clinic.example/a/fhir", True),
        ("http://clinic.example/a/fhir", "http://clinic.example:80/a/fhir", True),
        ("https://u:p@clinic.example./a/fhir", "https://clinic.example/a/fhir", True),
        ("https://clinic.example/b/%2e%2e/a/fhir", "https://clinic.example/a/fhir", True),
        ("../../a/fhir", "https://clinic.example/a/fhir", True),
        ("https://clinic.example/A/fhir", "https://clinic.example/a/fhir", False),
        ("https://clinic.example:8443/a/fhir", "https://clinic.example/a/fhir", False),
        ("http://clinic.example/a/fhir", "https://clinic.example/a/fhir", False),
        ("https://clinic.example/a/fhir/b", "https://clinic.example/a/fhir", False),
        ("https://[clinic/a/fhir", "https://clinic.example/a/fhir", False),
        ("https://clinic.example:99999/a/fhir", "https://clinic.example/a/fhir", False),
    ],
)
def test_a_base_is_the_same_wherever_it_leads_to_the_same(given: str, own: str, same: bool) -> None:
    assert same_base(given, own) is same


@pytest.mark.parametrize("sought", ["Patient/b", "b", "Group/a", "https://other.example/fhir/Patient/a", URN])
def test_another_reference_is_not_found(sought: str) -> None:
    assert not finds(observation(reference="Patient/a"), ("subject", sought))


def test_a_reference_out_of_this_server_is_found_by_its_whole_address() -> None:
    away = observation(reference="https://other.example/fhir/Patient/a")
    assert finds(away, ("subject", "https://other.example/fhir/Patient/a"))
    assert not finds(away, ("subject", "Patient/a"))
    assert not finds(away, ("subject", "a"))
    assert finds(observation(reference=URN), ("subject", URN))


def test_a_parameter_for_patients_passes_over_other_types() -> None:
    assert finds(observation(reference="Group/g"), ("subject", "g"))
    assert not finds(observation(reference="Group/g"), ("patient", "g"))
    assert not finds(observation(reference="Group/g"), ("patient", "Group/g"))


def test_a_type_as_modifier_says_which_type_an_id_is_of() -> None:
    of_group = observation(reference="Group/g")
    assert finds(of_group, ("subject:Group", "g"))
    assert finds(of_group, ("subject:Group", "Group/g"))
    assert not finds(of_group, ("subject:Patient", "g"))
    with pytest.raises(Invalid, match="modifier :Practitioner is not supported"):
        search("Observation", ("subject:Practitioner", "g"))
    with pytest.raises(Invalid, match="id of a Group"):
        search("Observation", ("subject:Group", "Patient/g"))


@pytest.mark.parametrize("subject", [{"display": "x"}, {"reference": "#p"}])
def test_a_reference_without_a_literal_leaves_only_that_it_is_there(subject: dict[str, str]) -> None:
    logical = observation(**subject)
    plain = {key: value for key, value in logical.items() if key != "subject"}
    # The parameter patient takes only what leads to a Patient.
    assert len(index(logical).keys) == len(index(plain).keys) + 1
    assert finds(logical, ("subject:missing", "false"))
    assert finds(plain, ("subject:missing", "true"))


def test_a_bare_id_of_one_possible_type_is_one_key() -> None:
    assert isinstance(search("Observation", ("patient", "a")).tree, AllKeys)
    assert isinstance(search("Observation", ("subject", "a")).tree, AnyKey)


def test_the_key_of_a_reference_leads_to_its_target() -> None:
    salt = hasher().salt(TENANT, "Observation", "subject")
    assert hasher().self_key(TENANT, "Patient", "a") in {
        key ^ salt for key in index(observation(reference="Patient/a")).keys
    }


@pytest.mark.parametrize("value", ["Foo/1", "a b", "Patient/", "/", "patient/1"])
def test_what_is_no_reference_is_refused(value: str) -> None:
    with pytest.raises(Invalid, match="subject"):
        search("Observation", ("subject", value))


def test_a_canonical_is_found_with_its_version_and_without() -> None:
    response = {
        "resourceType": "QuestionnaireResponse",
        "status": "completed",
        "questionnaire": "http://example.org/q|2.0",
    }
    assert finds(response, ("questionnaire", "http://example.org/q"))
    assert finds(response, ("questionnaire", "http://example.org/q|2.0"))
    assert not finds(response, ("questionnaire", "http://example.org/q|1.0"))
    own = {**response, "questionnaire": f"{BASE}/Questionnaire/q"}
    assert finds(own, ("questionnaire", "Questionnaire/q"))
    assert finds(own, ("questionnaire", f"{BASE}/Questionnaire/q"))


def test_a_uri_is_found_to_the_letter() -> None:
    value_set = {"resourceType": "ValueSet", "status": "active", "url": "http://example.org/V"}
    assert finds(value_set, ("url", "http://example.org/V"))
    assert not finds(value_set, ("url", "http://example.org/v"))
    assert not finds(value_set, ("url", "http://example.org/"))


def test_profile_and_source_of_any_resource_are_found() -> None:
    patient = {"resourceType": "Patient", "meta": {"profile": ["http://example.org/p|1"], "source": "urn:s#1"}}
    assert finds(patient, ("_profile", "http://example.org/p"))
    assert finds(patient, ("_profile", "http://example.org/p|1"))
    assert finds(patient, ("_source", "urn:s#1"))
    assert not finds(patient, ("_source", "urn:s"))


def test_the_first_resource_of_a_document_is_a_reference_to_itself() -> None:
    composition = {
        "resourceType": "Composition",
        "id": "c",
        "status": "final",
        "type": {"text": "x"},
        "date": "2024",
        "author": [{"display": "x"}],
        "title": "x",
    }
    entries = [{"fullUrl": URN, "resource": composition}]
    document = {
        "resourceType": "Bundle",
        "type": "document",
        "identifier": {"system": "urn:x", "value": "1"},
        "timestamp": "2024-01-01T00:00:00Z",
        "entry": entries,
    }
    assert finds(document, ("composition", "Composition/c"))
    assert not finds(document, ("composition", "Composition/d"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Patient/a", ("", "Patient", "a")),
        ("http://x/fhir/Patient/a/_history/1", ("http://x/fhir", "Patient", "a")),
        ("Nothing/a", None),
        ("#a", None),
        (URN, None),
        ("Patient/", None),
        ("a", None),
    ],
)
def test_a_literal_reference_names_base_type_and_id(text: str, parts: tuple[str, str, str] | None) -> None:
    assert literal(text) == parts
    assert target_type(text) == (parts[1] if parts else None)
