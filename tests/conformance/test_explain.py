"""Who sends a faulty resource is told every fault, where it is, and what is expected."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conformance.explain import MAX_ISSUES
from conformance.issue import Issue
from conformance.structures import Refused, decode

FAULTY: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "not_valid",
    "birthdate": "1970-03-30",
    "gender": "m",
    "active": "yes",
    "name": [{"given": "Eva"}, {"familyName": "Berg", "use": "official"}],
    "telecom": [{"system": "phone", "rank": 0}],
    "contact": [{"gender": "male"}, {"gender": "x", "period": {"start": "yesterday"}}],
    "deceasedBoolean": False,
    "deceasedDateTime": "2020-01-01",
    "extension": [{"valueString": "a"}],
}


def issues(resource_type: str, data: bytes) -> list[Issue]:
    """Return the issues with which the bytes are refused."""
    with pytest.raises(Refused) as refusal:
        decode(resource_type, data)
    return refusal.value.issues


def one(resource: dict[str, Any]) -> Issue:
    """Return the only issue with which a resource is refused."""
    (issue,) = issues(resource["resourceType"], json.dumps(resource).encode())
    return issue


def test_every_fault_is_told_with_its_fhirpath_expression() -> None:
    told = issues("Patient", json.dumps(FAULTY).encode())
    assert sorted((issue.expression[0], issue.code) for issue in told) == [
        ("Patient.active", "value"),
        ("Patient.birthdate", "structure"),
        ("Patient.contact[1].gender", "code-invalid"),
        ("Patient.contact[1].period.start", "value"),
        ("Patient.deceased", "structure"),
        ("Patient.extension[0].url", "required"),
        ("Patient.gender", "code-invalid"),
        ("Patient.id", "value"),
        ("Patient.name[0].given", "structure"),
        ("Patient.name[1].familyName", "structure"),
        ("Patient.telecom[0].rank", "value"),
    ]
    assert all(issue.severity == "error" for issue in told)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"birthdate": "1970"}, "'birthdate' is not an element of Patient. Did you mean 'birthDate'?"),
        ({"gender": "m"}, "'m' is not one of male, female, other, unknown."),
        (
            {"birthDate": "30.03.1970"},
            "'30.03.1970' is not a valid date: expected YYYY, YYYY-MM or YYYY-MM-DD, a day that exists.",
        ),
        ({"name": {"family": "Berg"}}, "An object stands where an array is expected."),
        ({"active": "true"}, "A string stands where a boolean is expected: true or false."),
        ({"active": None}, "null stands where a boolean is expected: true or false."),
        ({"communication": [{"preferred": True}]}, "The element language is required."),
        (
            {"deceasedBoolean": True, "deceasedDateTime": "2020"},
            "The choice deceased[x] is given more than once: deceasedBoolean, deceasedDateTime.",
        ),
        ({"birthDate": "19\u000070"}, "The text holds the control character U+0000, which FHIR does not allow."),
        ({"name": [{}]}, "The object is empty: it needs at least one element."),
        ({"name": []}, "The array is empty: leave the element out instead."),
        (
            {"text": {"status": "generated", "div": "<div>x</div>"}},
            "The narrative holds 'div' outside the namespace http://www.w3.org/1999/xhtml.",
        ),
    ],
)
def test_a_sentence_says_what_is_wrong_and_what_is_expected(change: dict[str, Any], sentence: str) -> None:
    assert one({"resourceType": "Patient"} | change).diagnostics == sentence


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b'{"resourceType":"Patient",\n "id" "a"}', "expecting ':' delimiter at line 2, column 7"),
        (b'{"resourceType":"Patient","id":"a"} x', "extra data at line 1, column 37"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"resourceType":"Patient","id":"\xff"}', "not UTF-8: byte 32"),
        (b'{"resourceType":"Observation","valueQuantity":{"value":NaN}}', "NaN is not a JSON number"),
        (b'{"resourceType":"Patient","language":"\\ud800"}', "\\ud800 at line 1, column 39 is one half"),
        (b"[]", "An array stands where a resource, a JSON object, is expected."),
    ],
)
def test_bytes_that_are_no_json_are_told_with_the_place(data: bytes, sentence: str) -> None:
    (issue,) = issues("Patient", data)
    assert sentence in issue.diagnostics


def test_a_place_inside_of_a_bundle_names_the_entry() -> None:
    bad = {"resourceType": "Patient", "contact": [{"gender": "x"}]}
    entry = {"resource": bad, "request": {"method": "POST", "url": "Patient"}}
    told = one({"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
    assert told.expression == ("Bundle.entry[0].resource.contact[0].gender",)


def test_a_place_in_an_extension_of_a_primitive_is_below_the_element() -> None:
    told = one({"resourceType": "Patient", "_birthDate": {"extension": [{"url": "http://e", "valueTime": "now"}]}})
    assert told.expression == ("Patient.birthDate.extension[0].value",)


def test_a_flood_of_faults_is_told_up_to_a_bound() -> None:
    names = [{"family": 1}] * (MAX_ISSUES + 50)
    told = issues("Patient", json.dumps({"resourceType": "Patient", "name": names}).encode())
    assert len(told) == MAX_ISSUES + 1
    assert told[-1].diagnostics == "There are more problems, which are not told."


def test_a_long_value_is_cut_where_it_is_told() -> None:
    told = one({"resourceType": "Patient", "gender": "x" * 100_000})
    assert len(told.diagnostics) < 200
