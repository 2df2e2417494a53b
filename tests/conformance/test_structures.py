"""A resource is taken or refused as a whole, by the JSON rules of FHIR. http://hl7.org/fhir/R4/json.html"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance.r4.types import CODE_TYPES, TYPE_CODES
from conformance.structures import STORABLE, Refused, decode, members, resource_type_of, warm

OBSERVATION: dict[str, Any] = {"resourceType": "Observation", "status": "final", "code": {"text": "Weight"}}
PATIENT: dict[str, Any] = {"resourceType": "Patient"}


def refused(resource: dict[str, Any] | bytes, resource_type: str = "") -> list[tuple[str, str]]:
    """Return (code, expression) of each issue with which a resource is refused; none when it is taken."""
    data = resource if isinstance(resource, bytes) else json.dumps(resource).encode()
    try:
        decode(resource_type or str(json.loads(data)["resourceType"]), data)
    except Refused as refusal:
        return [(issue.code, issue.expression[0] if issue.expression else "") for issue in refusal.issues]
    return []


def test_a_decoded_resource_has_the_elements_as_attributes() -> None:
    patient: Any = decode("Patient", b'{"resourceType":"Patient","name":[{"family":"Berg"}],"birthDate":"1970-03-30"}')
    assert patient.name[0].family == "Berg"
    assert patient.birthDate == "1970-03-30"


def test_an_element_named_like_a_keyword_gets_an_underscore() -> None:
    data = b'{"resourceType":"Encounter","status":"planned","class":{"code":"AMB"}}'
    encounter: Any = decode("Encounter", data)
    assert encounter.class_.code == "AMB"


def test_every_type_but_parameters_is_storable_and_has_a_number_of_its_own() -> None:
    assert len(STORABLE) == 145
    assert set(TYPE_CODES) - set(STORABLE) == {"Parameters"}
    assert sorted(TYPE_CODES.values()) == list(range(1, 147))
    assert all(TYPE_CODES[CODE_TYPES[code]] == code for code in CODE_TYPES)


def test_the_stored_numbers_of_types_never_move() -> None:
    assert (TYPE_CODES["Account"], TYPE_CODES["Patient"], TYPE_CODES["VisionPrescription"]) == (1, 103, 146)


@pytest.mark.parametrize("resource_type", ["Parameters", "Bundle", "Patient", "SubstanceSourceMaterial"])
def test_the_smallest_resource_of_a_type_is_taken(resource_type: str) -> None:
    smallest = {"resourceType": resource_type} | ({"type": "batch"} if resource_type == "Bundle" else {})
    assert refused(smallest) == []


@pytest.mark.parametrize(
    ("name", "value", "issue"),
    [
        ("nickname", "Eva", ("structure", "Patient.nickname")),
        ("birthDate", None, ("value", "Patient.birthDate")),
        ("birthDate", "1970-02-30", ("value", "Patient.birthDate")),
        ("birthDate", ["1970-03-30"], ("structure", "Patient.birthDate")),
        ("gender", "F", ("code-invalid", "Patient.gender")),
        ("active", "true", ("value", "Patient.active")),
        ("name", {"family": "Berg"}, ("structure", "Patient.name")),
        ("name", [], ("structure", "Patient.name")),
        ("name", [{}], ("structure", "Patient.name[0]")),
        ("name", [None], ("structure", "Patient.name[0]")),
        ("name", [[]], ("structure", "Patient.name[0]")),
        ("contact", [{"gender": "x"}], ("code-invalid", "Patient.contact[0].gender")),
        ("link", [{"type": "refer"}], ("required", "Patient.link[0].other")),
        ("multipleBirthInteger", 2147483648, ("value", "Patient.multipleBirth")),
        ("multipleBirthInteger", 1.0, ("value", "Patient.multipleBirth")),
        ("contained", [{"resourceType": "Nonsense"}], ("structure", "Patient.contained[0]")),
        ("contained", [{"id": "a"}], ("required", "Patient.contained[0]")),
        ("contained", [{"resourceType": "Basic"}], ("required", "Patient.contained[0].code")),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(name: str, value: object, issue: tuple[str, str]) -> None:
    assert refused(PATIENT | {name: value}) == [issue]


def test_a_required_element_is_required() -> None:
    assert refused({"resourceType": "Observation"}) == [
        ("required", "Observation.status"),
        ("required", "Observation.code"),
    ]


def test_a_required_primitive_may_be_given_by_its_extension_alone() -> None:
    absent = {
        "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]
    }
    without = {k: v for k, v in OBSERVATION.items() if k != "status"}
    assert refused(without | {"_status": absent}) == []


def test_a_choice_may_be_given_in_one_type_only() -> None:
    assert refused(OBSERVATION | {"valueString": "a"}) == []
    assert refused(OBSERVATION | {"valueString": "a", "_valueString": {"id": "v"}}) == []
    assert refused(OBSERVATION | {"valueString": "a", "valueInteger": 1}) == [("structure", "Observation.value")]
    assert refused(OBSERVATION | {"valueString": "a", "_valueInteger": {"id": "v"}}) == [
        ("structure", "Observation.value")
    ]


def test_an_extension_may_hold_one_value_only() -> None:
    extension = {"url": "http://e", "valueString": "a", "valueBoolean": True}
    assert refused(PATIENT | {"extension": [extension]}) == [("structure", "Patient.extension[0].value")]
    with_id = {"id": "x", "url": "http://e", "valueString": "a", "_valueString": {"id": "v"}}
    assert refused(PATIENT | {"extension": [with_id]}) == []


def test_a_required_choice_must_be_given() -> None:
    statement = {"resourceType": "MedicationStatement", "status": "active", "subject": {"reference": "Patient/a"}}
    assert refused(statement) == [("required", "MedicationStatement.medication")]
    assert refused(statement | {"medicationReference": {"reference": "Medication/a"}}) == []


@pytest.mark.parametrize(
    ("given", "companion", "taken"),
    [
        (["Eva", "Ada"], [None, {"id": "x"}], True),
        (["Eva", None], [None, {"id": "x"}], True),
        (None, [{"id": "x"}], True),
        (["Eva", None], None, False),
        (["Eva", None], [{"id": "x"}, None], False),
        (["Eva"], [None, {"id": "x"}], False),
        (["Eva", "Ada"], [{"id": "x"}], False),
        (None, [None], False),
        (["Eva"], [{}], False),
        (["Eva"], {"id": "x"}, False),
    ],
)
def test_an_array_and_its_companion_go_together(given: object, companion: object, taken: bool) -> None:
    name = {k: v for k, v in (("given", given), ("_given", companion)) if v is not None}
    assert (refused(PATIENT | {"name": [name]}) == []) is taken


def test_a_key_given_twice_is_refused_wherever_it_stands() -> None:
    assert refused(b'{"resourceType":"Patient","id":"a","id":"b"}') == [("structure", "Patient")]
    assert refused(b'{"resourceType":"Patient","resourceType":"Patient"}') == [("structure", "Patient")]
    assert refused(b'{"resourceType":"Patient","name":[{"family":"a","family":"a"}]}') == [
        ("structure", "Patient.name[0]")
    ]


def test_a_key_given_twice_does_not_hide_behind_an_escaped_colon() -> None:
    hidden = rb'{"resourceType":"Patient","implicitRules":"http\u003a//a","id":"a","id":"b"}'
    assert refused(hidden) == [("structure", "Patient")]


def test_a_missing_resource_type_does_not_hide_behind_a_key_given_twice() -> None:
    assert refused(b'{"id":"a","id":"a"}', "Patient") == [("required", "Patient")]


def test_white_space_and_escapes_that_mean_nothing_are_taken() -> None:
    spaced = b' {\n"resourceType" : "Patient" ,\t"name" : [ {"text" : "caf\\u00e9 \\u003a {} [] \\\\b \\/"} ]\r\n}\n'
    patient: Any = decode("Patient", spaced)
    assert patient.name[0].text == "café : {} [] \\b /"


def test_decimals_may_have_an_exponent_and_any_number_of_digits() -> None:
    for number in ("1.500", "-0", "1E5", "2e-10", "0.123456789012345678901234567890"):
        text = json.dumps(OBSERVATION | {"valueQuantity": {"value": 42}}).replace("42", number)
        assert refused(text.encode()) == [], number


def test_members_keep_the_digits_of_decimals() -> None:
    data = b'{"resourceType":"Observation","valueQuantity":{"value":1.500},"x":1E5}'
    assert bytes(members(data)["valueQuantity"]) == b'{"value":1.500}'
    assert list(members(data)) == ["resourceType", "valueQuantity", "x"]


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b'"Patient"', b'{"a":', b"\xff{}", b"[" * 100_000])
def test_members_of_what_is_no_object_are_refused(data: bytes) -> None:
    with pytest.raises(Refused) as refusal:
        members(data)
    assert len(refusal.value.issues) == 1


def test_the_type_of_a_resource_is_read_without_the_rest() -> None:
    assert resource_type_of(b'{"id":"a","resourceType":"Claim","anything":[{"goes":null}]}') == "Claim"


@pytest.mark.parametrize(
    "data", [b"{}", b'{"resourceType":"Nonsense"}', b'{"resourceType":1}', b'{"resourceType":"Resource"}', b"[]", b"{"]
)
def test_bytes_without_a_type_of_r4_are_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        resource_type_of(data)


def test_a_resource_of_another_type_than_asked_for_is_refused() -> None:
    assert refused(json.dumps(PATIENT).encode(), "Observation") == [("structure", "Observation")]
    assert refused(b"{}", "DomainResource") == [("structure", "")]


def test_a_coding_of_the_required_value_set_is_asked_for() -> None:
    def condition(**status: Any) -> dict[str, Any]:
        return {"resourceType": "Condition", "subject": {"reference": "Patient/a"}, "clinicalStatus": status}

    system = "http://terminology.hl7.org/CodeSystem/condition-clinical"
    here = [("code-invalid", "Condition.clinicalStatus")]
    assert (
        refused(condition(coding=[{"system": "http://mine", "code": "x"}, {"system": system, "code": "active"}])) == []
    )
    assert refused(condition(coding=[{"system": system, "code": "alive"}])) == here
    assert refused(condition(coding=[{"code": "active"}])) == here
    assert refused(condition(text="active")) == here


def test_a_process_that_decodes_nothing_does_not_pay_for_the_model() -> None:
    asked = "import sys, conformance.structures; print('conformance.r4.model' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    said = subprocess.run([sys.executable, "-c", asked], cwd=root, capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"


def test_warming_makes_the_decoders_beforehand() -> None:
    warm()
    assert decode("Patient", b'{"resourceType":"Patient"}') is not None
