"""Quantity parameters over HTTP, on a real database. http://hl7.org/fhir/R4/search.html#quantity"""

from __future__ import annotations

import pytest

from tests.fhir import Client

UCUM = "http://unitsofmeasure.org"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"value-quantity=1|{UCUM}|g", ["a"]),
        (f"value-quantity=gt0.5|{UCUM}|g", ["a"]),
        ("value-quantity=1000", ["a", "b"]),
        ("value-quantity=1000||mL", ["b"]),
        (f"value-quantity=1|{UCUM}|g,1|{UCUM}|L", ["a", "b"]),
        ("value-quantity:missing=true", []),
    ],
)
async def test_one_gram_finds_a_thousand_milligrams_of_the_same_tenant(
    fhir: Client, other: Client, query: str, expected: list[str]
) -> None:
    for id_, unit in (("a", "mg"), ("b", "mL")):
        body = {
            "resourceType": "Observation",
            "id": id_,
            "status": "final",
            "code": {"text": "x"},
            "subject": {"reference": f"Patient/{id_}"},
            "valueQuantity": {"value": 1000, "system": UCUM, "code": unit},
        }
        assert (await fhir.put(f"/Observation/{id_}", json=body)).status_code == 201
    mine = await fhir.token("patient/*.rs", patient="a")
    for client, token, seen in (
        (fhir, "all", expected),
        (other, "all", []),
        (fhir, mine, [i for i in expected if i == "a"]),
    ):
        answer = await client.get(f"/Observation?{query}", token=token)
        assert answer.status_code == 200, answer.text
        assert sorted(entry["resource"]["id"] for entry in answer.json().get("entry", [])) == seen


async def test_what_is_no_quantity_is_a_400_and_the_parameter_is_declared(fhir: Client) -> None:
    assert (await fhir.get("/Observation?value-quantity=1|mg")).status_code == 400
    stated = (await fhir.get("/metadata")).json()["rest"][0]["resource"]
    params = next(one["searchParam"] for one in stated if one["type"] == "Observation")
    assert {"name": "value-quantity", "type": "quantity"} in [{"name": p["name"], "type": p["type"]} for p in params]
