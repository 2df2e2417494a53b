"""Modifiers of search parameters over HTTP, on a real database. http://hl7.org/fhir/R4/search.html#modifiers"""

from __future__ import annotations

from typing import Any

import pytest

from tests.fhir import Client

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "a",
    "identifier": [
        {
            "system": "urn:mrn",
            "value": "M1",
            "type": {"coding": [{"system": "urn:types", "code": "MR"}], "text": "Medical record"},
        }
    ],
    "name": [{"family": "Müller"}],
    "gender": "female",
    "meta": {"profile": ["http://acme.example/fhir/a"]},
    "generalPractitioner": [{"identifier": {"system": "urn:npi", "value": "77"}}],
}
OTHER: dict[str, Any] = {"resourceType": "Patient", "id": "b", "name": [{"family": "muller"}], "birthDate": "1980"}


async def found(client: Client, query: str, **more: Any) -> list[str]:
    """Return the ids that a search of patients finds."""
    answer = await client.get(f"/Patient?{query}", **more)
    assert answer.status_code == 200, answer.text
    return sorted(entry["resource"]["id"] for entry in answer.json().get("entry", []))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("gender:not=male", ["a", "b"]),
        ("gender:not=female", ["b"]),
        ("gender:missing=true", ["b"]),
        ("gender:missing=false", ["a"]),
        ("birthdate:missing=true", ["a"]),
        ("birthdate:missing=false", ["b"]),
        ("family:missing=true", []),
        ("family=MULL", ["a", "b"]),
        ("family:exact=Müller", ["a"]),
        ("family:exact=muller", ["b"]),
        ("family:exact=Muller", []),
        ("family:exact=Mü", []),
        ("family:contains=ULL", ["a", "b"]),
        ("general-practitioner:identifier=urn:npi|77", ["a"]),
        ("identifier:of-type=urn:types|MR|M1", ["a"]),
        ("identifier:text=medical", ["a"]),
        ("_profile:below=http://acme.example/fhir", ["a"]),
        ("_profile:above=http://acme.example/fhir/a/b", ["a"]),
    ],
)
async def test_a_modifier_finds_what_the_specification_says_and_nobody_elses(
    fhir: Client, other: Client, query: str, expected: list[str]
) -> None:
    for resource in (PATIENT, OTHER):
        assert (await fhir.put(f"/Patient/{resource['id']}", json=resource)).status_code == 201
    assert await found(fhir, query) == expected
    assert await found(other, query) == []
    mine = await fhir.token("patient/*.rs", patient="a")
    assert await found(fhir, query, token=mine) == [id_ for id_ in expected if id_ == "a"]


@pytest.mark.parametrize("query", ["gender:in=http://vs", "birthdate:not=1980", "family:missing=x", "gender:text=f"])
async def test_a_modifier_that_is_not_supported_is_a_400_that_names_it(fhir: Client, query: str) -> None:
    answer = await fhir.get(f"/Patient?{query}", headers={"prefer": "handling=lenient"})
    assert answer.status_code == 400
    assert query.split("=")[0] in answer.text
