"""FHIRPath Patch by what its page demands. http://hl7.org/fhir/R4/fhirpatch.html"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fhir_server.errors import Invalid, Unprocessable
from fhir_server.interactions.fhirpath_patch import fhirpath_patch

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "birthDate": "1920-01-01",
    "_birthDate": {"extension": [{"url": "http://x", "valueCode": "y"}]},
    "deceasedBoolean": False,
    "name": [{"use": "official", "given": ["a", "b", "c"]}, {"use": "nickname", "text": "n"}],
    "telecom": [{"system": "phone", "value": "1"}, {"system": "email", "value": "2"}],
    "extension": [{"url": "http://e", "valueString": "s"}],
}


def operation(kind: str, path: str, value: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    part = [{"name": "type", "valueCode": kind}, {"name": "path", "valueString": path}]
    if value is not None:
        part.append({"name": "value", **value})
    for name, given in more.items():
        part.append({"name": name, "valueString" if isinstance(given, str) else "valueInteger": given})
    return {"name": "operation", "part": part}


def patched(*operations: dict[str, Any], value: Any = PATIENT) -> Any:
    change = fhirpath_patch({"resourceType": "Parameters", "parameter": list(operations)}, "Patient")
    return change(copy.deepcopy(value))


@pytest.mark.parametrize(
    ("asked", "becomes"),
    [
        (operation("add", "Patient", {"valueCode": "male"}, name="gender"), {"gender": "male"}),
        (operation("add", "Patient.name[0]", {"valueString": "F"}, name="family"), {"name.0.family": "F"}),
        (
            operation("add", "Patient.name[0]", {"valueString": "d"}, name="given"),
            {"name.0.given": ["a", "b", "c", "d"]},
        ),
        (
            operation("add", "Patient", {"part": [{"name": "name", "valueHumanName": {"text": "t"}}]}, name="contact"),
            {"contact": [{"name": {"text": "t"}}]},
        ),
        (
            operation("insert", "Patient.name[0].given", {"valueString": "x"}, index=1),
            {"name.0.given": ["a", "x", "b", "c"]},
        ),
        (operation("delete", "Patient.birthDate"), {"birthDate": None, "_birthDate": None}),
        (operation("delete", "Patient.name[0].given.where($this = 'b')"), {"name.0.given": ["a", "c"]}),
        (operation("delete", "Patient.maritalStatus"), {}),
        (operation("delete", "Patient.extension('http://e')"), {"extension": None}),
        (operation("replace", "Patient.birthDate", {"valueDate": "1930"}), {"birthDate": "1930", "_birthDate": None}),
        (
            operation("replace", "Patient.deceased", {"valueDateTime": "2020"}),
            {"deceasedDateTime": "2020", "deceasedBoolean": None},
        ),
        (
            operation("replace", "Patient.telecom.where(system = 'email').value", {"valueString": "3"}),
            {"telecom.1.value": "3"},
        ),
        (operation("replace", "Patient.name.last().text", {"valueString": "m"}), {"name.1.text": "m"}),
        (
            operation("replace", "Patient.name.first().given[2]", {"valueString": "z"}),
            {"name.0.given": ["a", "b", "z"]},
        ),
        (operation("move", "Patient.name[0].given", source=0, destination=2), {"name.0.given": ["b", "c", "a"]}),
        (
            operation("replace", "Patient.extension('http://e').value", {"valueString": "t"}),
            {"extension.0.valueString": "t"},
        ),
    ],
)
def test_an_operation_changes_what_it_names_and_nothing_else(asked: dict[str, Any], becomes: dict[str, Any]) -> None:
    expected = copy.deepcopy(PATIENT)
    for place, value in becomes.items():
        *way, last = place.split(".")
        inner: Any = expected
        for step in way:
            inner = inner[int(step) if step.isdigit() else step]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    assert patched(asked) == expected


@pytest.mark.parametrize(
    "asked",
    [
        operation("add", "Patient", {"valueDate": "1930"}, name="birthDate"),
        operation("add", "Patient", {"valueDate": "1930"}, name="nonsense"),
        operation("add", "Patient.name", {"valueString": "x"}, name="family"),
        operation("add", "Patient.birthDate", {"valueString": "x"}, name="family"),
        operation("insert", "Patient.name[0].given", {"valueString": "x"}, index=9),
        operation("insert", "Patient.birthDate", {"valueDate": "1930"}, index=0),
        operation("delete", "Patient.name"),
        operation("delete", "Patient"),
        operation("replace", "Patient.gender", {"valueCode": "male"}),
        operation("replace", "Patient.telecom.value", {"valueString": "3"}),
        operation("replace", "Patient.nonsense", {"valueString": "3"}),
        operation("move", "Patient.name[0].given", source=0, destination=3),
    ],
)
def test_what_cannot_be_done_is_unprocessable_and_names_the_operation(asked: dict[str, Any]) -> None:
    with pytest.raises(Unprocessable, match="operation 0"):
        patched(asked)


@pytest.mark.parametrize(
    "asked",
    [
        operation("spin", "Patient"),
        operation("add", "Patient", name="gender"),
        operation("add", "Patient", {"valueCode": "male"}),
        operation("move", "Patient.name", source=0),
        operation("insert", "Patient.name", {"valueString": "x"}, index=-1),
        operation("delete", "Patient.name["),
        {"name": "other"},
    ],
)
def test_what_is_no_patch_is_invalid(asked: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        patched(asked)


def test_extensions_of_primitives_in_a_list_stay_with_them() -> None:
    value = {"resourceType": "Patient", "name": [{"given": ["a", "b"], "_given": [None, {"id": "of-b"}]}]}
    moved = patched(operation("move", "Patient.name.given", source=1, destination=0), value=value)
    assert moved["name"][0] == {"given": ["b", "a"], "_given": [{"id": "of-b"}, None]}
    gone = patched(operation("delete", "Patient.name.given[1]"), value=value)
    assert gone["name"][0] == {"given": ["a"]}
