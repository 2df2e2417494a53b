"""Composite parameters over HTTP, on a real database. http://hl7.org/fhir/R4/search.html#composite"""

from __future__ import annotations

import pytest

from tests.fhir import Client

UCUM = "http://unitsofmeasure.org"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"code-value-quantity=urn:l|hb$gt100|{UCUM}|g/L", ["a"]),
        (f"code-value-quantity=hb$gt20|{UCUM}|g/dL", []),
        (f"code-value-quantity=hba$gt1|{UCUM}|g/dL", []),
        (f"code-value-quantity=hb$12.0|{UCUM}|g/dL,urn:l|k$4|{UCUM}|mmol/L", ["a", "b"]),
    ],
)
async def test_code_and_value_must_both_be_of_the_resource(
    fhir: Client, other: Client, query: str, expected: list[str]
) -> None:
    for id_, code, value, unit in (("a", "hb", 12.0, "g/dL"), ("b", "k", 4, "mmol/L")):
        body = {
            "resourceType": "Observation",
            "id": id_,
            "status": "final",
            "code": {"coding": [{"system": "urn:l", "code": code}]},
            "subject": {"reference": f"Patient/{id_}"},
            "valueQuantity": {"value": value, "system": UCUM, "code": unit},
        }
        assert (await fhir.put(f"/Observation/{id_}", json=body)).status_code == 201
    mine = await fhir.token("patient/*.rs", patient="a")
    seen = ((fhir, "all", expected), (other, "all", []), (fhir, mine, [one for one in expected if one == "a"]))
    for client, token, ids in seen:
        answer = await client.get(f"/Observation?{query}", token=token)
        assert answer.status_code == 200, answer.text
        assert sorted(entry["resource"]["id"] for entry in answer.json().get("entry", [])) == ids


@pytest.mark.parametrize("query", ["code-value-quantity=hb", "code-value-quantity=hb$", "code-value-quantity:not=hb$1"])
async def test_half_a_composite_is_a_400(fhir: Client, query: str) -> None:
    assert (await fhir.get(f"/Observation?{query}")).status_code == 400
