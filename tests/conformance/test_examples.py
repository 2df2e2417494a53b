"""Real resources are taken: the specification's own examples but for its faulty ones, and Synthea's patients."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.structures import Refused, decode, resource_type_of
from tests.conformance.examples import package_resources, synthea_bundles

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
NO_BASE = ("SearchParameter.base",)
# Files of hl7.fhir.r4.examples 4.0.1 that break the specification, and the places where they do.
FAULTY: dict[str, tuple[str, ...]] = {
    "ImplementationGuide-fhir.json": ("ImplementationGuide.name", "ImplementationGuide.status"),
    "Questionnaire-qs1.json": tuple(f"Questionnaire.item[]{'.item[]' * depth}.linkId" for depth in (1, 2, 3)),
    "SearchParameter-codesystem-extensions-CodeSystem-author.json": NO_BASE,
    "SearchParameter-codesystem-extensions-CodeSystem-effective.json": NO_BASE,
    "SearchParameter-codesystem-extensions-CodeSystem-end.json": NO_BASE,
    "SearchParameter-codesystem-extensions-CodeSystem-keyword.json": NO_BASE,
    "SearchParameter-codesystem-extensions-CodeSystem-workflow.json": NO_BASE,
    "SearchParameter-questionnaireresponse-extensions-QuestionnaireResponse-item-subject.json": ("SearchParameter.id",),
    "SearchParameter-valueset-extensions-ValueSet-author.json": NO_BASE,
    "SearchParameter-valueset-extensions-ValueSet-effective.json": NO_BASE,
    "SearchParameter-valueset-extensions-ValueSet-end.json": NO_BASE,
    "SearchParameter-valueset-extensions-ValueSet-keyword.json": NO_BASE,
    "SearchParameter-valueset-extensions-ValueSet-workflow.json": NO_BASE,
    "ig-r4.json": ("ImplementationGuide.name", "ImplementationGuide.status"),
}
ORACLE_TYPES = {
    "Claim",
    "Condition",
    "Coverage",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "Immunization",
    "MedicationRequest",
    "Observation",
    "Patient",
    "Questionnaire",
}
Change = Callable[[dict[str, Any]], dict[str, Any]]
FAULTS: dict[str, Change] = {
    "an unknown element": lambda r: r | {"nickname": "x"},
    "a number for a code": lambda r: r | {"language": 5},
    "an object for an array": lambda r: r | {"identifier": {"value": "x"}},
    "a day that does not exist": lambda r: r | {"meta": {"lastUpdated": "2021-02-30T00:00:00Z"}},
    "an instant without zone": lambda r: r | {"meta": {"lastUpdated": "2021-02-03T00:00:00"}},
    "an id with a blank": lambda r: r | {"id": "a b"},
    "an empty code": lambda r: r | {"language": ""},
    "an extension without url": lambda r: r | {"extension": [{"valueString": "a"}]},
    "an extension with two values": lambda r: r | {"extension": [{"url": "a", "valueString": "a", "valueInteger": 1}]},
    "a contained thing of no type": lambda r: r | {"contained": [{"resourceType": "Nonsense"}]},
    "a rank of 0": lambda r: r | {"contained": [{"resourceType": "Patient", "telecom": [{"rank": 0}]}]},
}
# The oracle takes these; the specification's JSON page and its regular expressions do not.
STRICTER: dict[str, Change] = {
    "null": lambda r: r | {"language": None},
    "an empty array": lambda r: r | {"identifier": []},
    "an empty object": lambda r: r | {"meta": {}},
    "an id of 65 characters": lambda r: r | {"id": "a" * 65},
    "a URI with a blank": lambda r: r | {"implicitRules": "a b"},
}


def places(resource_type: str, data: bytes) -> set[str]:
    """Return where a resource is refused, indexes left out; nothing when it is taken."""
    try:
        decode(resource_type, data)
    except Refused as refusal:
        return {"".join(c for c in issue.expression[0] if not c.isdigit()) for issue in refusal.issues}
    return set()


def test_every_resource_of_the_specifications_package_is_taken_but_for_the_faulty_ones() -> None:
    refused = {}
    count = 0
    for name, data in package_resources():
        count += 1
        if found := places(resource_type_of(data), data):
            refused[name] = found
    assert count == 5306
    assert refused == {name: set(expected) for name, expected in FAULTY.items()}


def test_the_documentation_lists_every_faulty_file() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in FAULTY if f"`{name}`" not in page] == []


def test_every_resource_of_the_synthea_bundles_is_taken() -> None:
    bundles = resources = 0
    for name, data in synthea_bundles():
        assert places("Bundle", data) == set(), name
        bundles += 1
        for entry in json.loads(data)["entry"]:
            resource = entry["resource"]
            assert places(resource["resourceType"], json.dumps(resource).encode()) == set(), name
            resources += 1
    assert bundles == 30
    assert resources > bundles


def oracle_takes(resource: dict[str, Any]) -> bool:
    """Return whether fhir.resources, in its R4B edition, takes a resource."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fhir.resources.R4B import get_fhir_model_class

    try:
        get_fhir_model_class(resource["resourceType"]).model_validate_json(json.dumps(resource))
    except (ValueError, LookupError):
        return False
    return True


def samples() -> Iterator[dict[str, Any]]:
    """Yield examples of the types that R4 and R4B define alike, small ones, every second of a type."""
    seen: dict[str, int] = {}
    for name, data in package_resources():
        resource_type = name.partition("-")[0]
        if resource_type in ORACLE_TYPES and len(data) < 20_000 and resource_type_of(data) == resource_type:
            seen[resource_type] = seen.get(resource_type, 0) + 1
            if seen[resource_type] % 2:
                yield json.loads(data)


def ours_takes(resource: dict[str, Any]) -> bool:
    """Return whether we take a resource."""
    return not places(resource["resourceType"], json.dumps(resource).encode())


def test_fhir_resources_and_we_agree_on_examples_and_on_their_faults() -> None:
    compared = 0
    for resource in samples():
        here = (resource["resourceType"], resource["id"])
        assert ours_takes(resource) is oracle_takes(resource) is True, here
        for fault, change in FAULTS.items():
            assert ours_takes(change(resource)) is oracle_takes(change(resource)) is False, (here, fault)
        compared += 1
    assert compared > 80


@pytest.mark.parametrize("fault", STRICTER)
def test_where_fhir_resources_is_more_lenient_we_hold_to_the_specification(fault: str) -> None:
    resource = STRICTER[fault]({"resourceType": "Patient", "id": "a"})
    assert oracle_takes(resource)
    assert not ours_takes(resource)
