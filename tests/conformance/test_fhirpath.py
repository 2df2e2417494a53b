"""FHIRPath of search parameters, compiled over the Structs of R4. http://hl7.org/fhirpath/N1/"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from conformance.fhirpath import Unsupported, branches, compile_path
from conformance.r4.facts import search_parameters
from conformance.r4.types import TYPE_CODES
from conformance.structures import Refused, decode, resource_type_of
from tests.conformance.examples import package_resources

COMMON = ("Resource", "DomainResource")
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "active": True,
    "name": [
        {"use": "official", "family": "Muster", "given": ["Anna", None], "_given": [None, {"id": "x"}]},
        {"use": "maiden", "family": "Beispiel"},
    ],
    "telecom": [{"system": "phone", "value": "555"}, {"system": "email", "value": "a@example.org"}, {"value": "x"}],
    "deceasedDateTime": "2024-01-01",
    "generalPractitioner": [
        {"reference": "Practitioner/p"},
        {"reference": "https://elsewhere.example/fhir/Organization/o/_history/3"},
        {"type": "Organization", "identifier": {"value": "1"}},
    ],
    "extension": [
        {"url": "http://example.org/race", "extension": [{"url": "code", "valueCoding": {"code": "a"}}]},
        {"url": "http://example.org/other", "valueString": "b"},
    ],
}


def find(expression: str, resource: dict[str, Any]) -> list[Any]:
    """Return what the compiled expression finds in a resource, as plain data."""
    kind = resource["resourceType"]
    found = compile_path(expression, kind)(decode(kind, msgspec.json.encode(resource)))
    return [msgspec.to_builtins(value) for value in found]


def test_every_search_parameter_of_r4_with_an_expression_compiles() -> None:
    compiled = 0
    for definition in search_parameters():
        for base in definition.base if definition.expression else ():
            names = TYPE_CODES if base in COMMON else (base,)
            for name in names:
                assert branches(str(definition.expression), name), f"{definition.url} finds nothing in {name}"
                compiled += 1
    assert compiled > 1500


def test_only_parameters_that_name_no_element_are_without_an_expression() -> None:
    without = {definition.code for definition in search_parameters() if definition.expression is None}
    assert without == {"_text", "_content", "_query", "_filter"}


def test_every_compiled_path_runs_over_every_example_of_the_specification() -> None:
    found: dict[str, int] = {}
    paths = {
        (definition.url, base): compile_path(str(definition.expression), base)
        for definition in search_parameters()
        for base in definition.base
        if definition.expression and base not in COMMON
    }
    by_type: dict[str, list[Any]] = {}
    for (url, base), path in paths.items():
        by_type.setdefault(base, []).append((url, path))
    for number, (_, data) in enumerate(package_resources()):
        # Every fifth keeps the run short and still meets all common types.
        if number % 5 or (kind := resource_type_of(data)) not in by_type:
            continue
        try:
            resource = decode(kind, data)
        except Refused:  # the package holds some faulty files, which other tests list
            continue
        for url, path in by_type[kind]:
            found[url] = found.get(url, 0) + len(path(resource))
    assert sum(1 for number in found.values() if number) > 500


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("Patient.active", [True]),
        ("active", [True]),
        ("Patient.name.family", ["Muster", "Beispiel"]),
        ("Patient.name.given", ["Anna"]),
        ("Patient.name[1].family", ["Beispiel"]),
        ("Patient.name[7].family", []),
        ("Patient.name.first().family", ["Muster"]),
        ("Patient.name.where(use = 'maiden').family", ["Beispiel"]),
        ("Patient.name.where(use='old' or use='maiden').family", ["Beispiel"]),
        ("Patient.name.where(given.exists()).family", ["Muster"]),
        ("Patient.name.where(given.empty()).family", ["Beispiel"]),
        ("Patient.name.where(given.exists().not()).family", ["Beispiel"]),
        ("Patient.name.where(given.where($this = 'Anna').exists()).family", ["Muster"]),
        ("Patient.name.where(given.exists($this = 'Bert')).family", []),
        ("Patient.telecom.where(system='phone').value", ["555"]),
        ("Patient.telecom.where(system != 'phone').value", ["a@example.org"]),
        ("Patient.telecom.value | Patient.name.family", ["555", "a@example.org", "x", "Muster", "Beispiel"]),
        ("Patient.deceased", ["2024-01-01"]),
        ("Patient.deceased as dateTime", ["2024-01-01"]),
        ("(Patient.deceased as boolean)", []),
        ("Patient.deceased.as(dateTime)", ["2024-01-01"]),
        ("Patient.deceased.ofType(FHIR.dateTime)", ["2024-01-01"]),
        ("Patient.deceased.exists() and Patient.deceased != false", [True]),
        ("Patient.photo.exists()", [False]),
        ("Patient.gender = 'male'", []),
        ("Patient.gender = 'male' or Patient.active", [True]),
        ("Patient.gender = 'male' and Patient.active", []),
        ("Patient.gender = 'male' and Patient.active = false", [False]),
        ("Practitioner.name.family | Patient.name.family", ["Muster", "Beispiel"]),
        ("Practitioner.name.family", []),
        ("Resource.active", [True]),
        ("Patient.extension('http://example.org/other').value", ["b"]),
        ("Patient.extension('http://example.org/other').value as string", ["b"]),
        ("Patient.extension.where(url = 'http://example.org/race').extension.value.code", ["a"]),
        ("Patient.extension('http://example.org/race').extension('code').value.ofType(Coding).code", ["a"]),
    ],
)
def test_an_expression_finds_what_fhirpath_says(expression: str, expected: list[Any]) -> None:
    assert find(expression, PATIENT) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Practitioner", ["Practitioner/p"]), ("Organization", [None, "x"]), ("Patient", [])],
)
def test_resolve_is_tells_the_type_from_the_reference_itself(name: str, expected: list[Any]) -> None:
    found = find(f"Patient.generalPractitioner.where(resolve() is {name})", PATIENT)
    assert len(found) == len(expected)
    assert all(name in str(reference) for reference in found)


def test_an_element_named_like_a_python_keyword_is_found() -> None:
    encounter = {"resourceType": "Encounter", "status": "planned", "class": {"code": "AMB"}}
    assert find("Encounter.class", encounter) == [{"code": "AMB"}]


def test_a_quantity_of_a_narrower_type_is_a_quantity() -> None:
    condition = {"resourceType": "Condition", "subject": {"reference": "Patient/1"}, "onsetAge": {"value": 7}}
    assert find("Condition.onset as Quantity", condition) == [{"value": 7}]
    assert find("Condition.onset.as(Age)", condition) == [{"value": 7}]
    assert find("Condition.onset.as(Range)", condition) == []


def test_true_is_not_the_number_one() -> None:
    assert find("Patient.where(active = 1).name.family", PATIENT) == []


def test_a_branch_knows_whether_it_may_find_several() -> None:
    (single,) = branches("Patient.birthDate", "Patient")
    (several,) = branches("Patient.name.family", "Patient")
    assert (single.single, several.single) == (True, False)


def test_a_choice_gives_one_branch_for_each_type() -> None:
    found = {branch.type: branch.attribute for branch in branches("Observation.effective", "Observation")}
    assert found["Period"] == "effectivePeriod"
    assert len(found) == 4


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("Patient.nothing", "has no element 'nothing'"),
        ("Patient.name.family.length()", "length"),
        ("Patient.name.where(", "missing"),
        ("Patient.name.where(use = 'a'", "missing"),
        ("Patient.name)", "not expected"),
        ("Patient.name as Nothing", "not a type"),
        ("Patient.name.where(use > 'a')", "not understood"),
        ("Patient.name.where(use = family)", "constant"),
        ("Patient.name.where()", "one criterion"),
        ("Patient.name[x]", "a number is missing"),
        ("Patient.extension(1)", "one URL"),
        ("", "a name is missing"),
        ("Patient.name'", "not understood"),
        ("(" * 500 + "Patient.name" + ")" * 500, "deeper"),
        ("Patient.name.where(" * 500, "deeper"),
        ("x" * 20_000, "longer"),
        (f"Patient.extension.value{' | Patient.extension.value' * 20}.extension.value", "types of value"),
    ],
)
def test_what_cannot_be_compiled_is_refused_with_the_reason(expression: str, said: str) -> None:
    with pytest.raises(Unsupported, match=said):
        branches(expression, "Patient")
