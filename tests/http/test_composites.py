"""Composites of elements that repeat, over HTTP: the parts must be of the same element.

http://hl7.org/fhir/R4/search.html#composite
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.fhir import Client

UCUM = "http://unitsofmeasure.org"
LOINC = "http://loinc.org"
Found = dict[str, Any]


def concept(code: str, system: str = LOINC) -> Found:
    """Return a CodeableConcept."""
    return {"coding": [{"system": system, "code": code}]}


def pressure(systolic: float, diastolic: float) -> Found:
    """Return a blood pressure in its two components, the one coded twice."""
    double = {"coding": [*concept("sys")["coding"], *concept("SYSTOLIC", "urn:local")["coding"]]}
    pairs = ((double, systolic, "mm[Hg]", "mmHg"), (concept("dia"), diastolic, "mm[Hg]", "mmHg"))
    parts = [
        {"code": code, "valueQuantity": {"value": value, "unit": unit, "system": UCUM, "code": ucum}}
        for code, value, ucum, unit in pairs
    ]
    return {"code": concept("bp"), "subject": {"reference": "Patient/p"}, "component": parts}


def answered(**values: str) -> Found:
    """Return a survey with a coded answer for each question."""
    parts = [{"code": concept(q), "valueCodeableConcept": concept(a, "urn:answers")} for q, a in values.items()]
    return {"code": concept("survey"), "component": parts}


async def observations(fhir: Client, **bodies: Found) -> None:
    """Store Observations by id."""
    for id_, body in bodies.items():
        whole = {"resourceType": "Observation", "id": id_, "status": "final", **body}
        answer = await fhir.put(f"/Observation/{id_}", json=whole)
        assert answer.status_code in (200, 201), answer.text


async def put(fhir: Client, kind: str, id_: str, **body: Any) -> None:
    """Store a resource."""
    answer = await fhir.put(f"/{kind}/{id_}", json={"resourceType": kind, "id": id_, **body})
    assert answer.status_code in (200, 201), answer.text


async def ids(fhir: Client, query: str, **more: Any) -> list[str]:
    """Return the ids that a search finds."""
    answer = await fhir.get(query, **more)
    assert answer.status_code == 200, answer.text
    return sorted(entry["resource"]["id"] for entry in answer.json().get("entry", []))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"component-code-value-quantity={LOINC}|sys$gt140", ["high"]),
        (f"component-code-value-quantity={LOINC}|dia$gt140", []),
        ("component-code-value-quantity=dia$gt85", ["high"]),
        ("component-code-value-quantity=DIA$ge80", ["fine", "high"]),
        (f"component-code-value-quantity={LOINC}|dia$ge80", ["fine", "high"]),
        ("component-code-value-quantity=systolic$120", ["fine"]),
        (f"component-code-value-quantity={LOINC}|SYSTOLIC$120", []),
        (f"component-code-value-quantity={LOINC}|$gt140", ["high"]),
        (f"component-code-value-quantity=urn:local|$lt100|{UCUM}|mm[Hg]", []),
        (f"component-code-value-quantity=urn:local|$gt140|{UCUM}|mm[Hg]", ["high"]),
        (f"component-code-value-quantity=sys$gt16|{UCUM}|kPa", ["high"]),
        (f"component-code-value-quantity=sys$lt16|{UCUM}|kPa", ["fine"]),
        ("component-code-value-quantity=sys$gt140||mmHg", ["high"]),
        ("component-code-value-quantity=sys$gt140||kPa", []),
        (f"component-code-value-quantity=|sys$gt1,{LOINC}|sys$120", ["fine"]),
        (f"component-code-value-quantity=sys$gt100|{UCUM}|g", []),
        (f"combo-code-value-quantity={LOINC}|sys$gt140", ["high"]),
        (f"combo-code-value-quantity=weight$gt70|{UCUM}|kg", ["weight"]),
        (f"combo-code-value-quantity=weight$gt80000|{UCUM}|g,sys$gt140", ["high", "weight"]),
        (f"component-code-value-quantity=weight$gt70|{UCUM}|kg", []),
        ("component-code-value-quantity=sys$ap118&component-code-value-quantity=dia$le80", ["fine"]),
    ],
)
async def test_code_and_quantity_must_be_of_one_component(fhir: Client, query: str, expected: list[str]) -> None:
    weight = {"code": concept("weight"), "valueQuantity": {"value": 81, "system": UCUM, "code": "kg"}}
    await observations(fhir, fine=pressure(120, 80), high=pressure(160, 95), weight=weight)
    assert await ids(fhir, f"/Observation?{query.replace('+', '%2B')}") == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("component-code-value-concept=q1$yes", ["a"]),
        ("component-code-value-concept=q2$yes", ["b"]),
        (f"component-code-value-concept={LOINC}|q1$urn:answers|no", ["b"]),
        (f"component-code-value-concept={LOINC}|q1$urn:other|no", []),
        ("component-code-value-concept=q1$urn:answers|", ["a", "b"]),
        ("component-code-value-concept=yes$q1", []),
        ("combo-code-value-concept=q1$yes,smokes$yes", ["a", "root"]),
        ("code-value-concept=smokes$yes", ["root"]),
    ],
)
async def test_code_and_concept_must_be_of_one_component(fhir: Client, query: str, expected: list[str]) -> None:
    root = {"code": concept("smokes"), "valueCodeableConcept": concept("yes", "urn:answers")}
    await observations(fhir, a=answered(q1="yes", q2="no"), b=answered(q1="no", q2="yes"), root=root)
    assert await ids(fhir, f"/Observation?{query}") == expected


async def test_a_string_stands_with_its_code(fhir: Client) -> None:
    await observations(
        fhir,
        a={"code": concept("note"), "valueString": "Früh am Morgen"},
        b={"code": concept("other"), "valueString": "Früh am Abend"},
        c={"code": concept("note"), "valueCodeableConcept": {"text": "Früh"}},
    )
    assert await ids(fhir, "/Observation?code-value-string=note$fruh") == ["a"]
    assert await ids(fhir, "/Observation?code-value-string=note$morgen") == []


async def test_entries_follow_updates_and_deletes(fhir: Client) -> None:
    query = "/Observation?component-code-value-quantity=sys$gt140"
    await observations(fhir, x=pressure(160, 80))
    assert await ids(fhir, query) == ["x"]
    await observations(fhir, x=pressure(120, 160))
    assert await ids(fhir, query) == []
    await observations(fhir, x=pressure(170, 160))
    assert await ids(fhir, query) == ["x"]
    assert (await fhir.delete("/Observation/x")).status_code == 204
    assert await ids(fhir, query) == []


async def test_only_what_the_token_may_see_is_found(fhir: Client, other: Client) -> None:
    query = "/Observation?component-code-value-quantity=sys$gt140"
    await put(fhir, "Patient", "p")
    await observations(
        fhir, mine=pressure(160, 80), foreign={**pressure(170, 80), "subject": {"reference": "Patient/q"}}
    )
    assert await ids(fhir, query) == ["foreign", "mine"]
    assert await ids(fhir, query, token=await fhir.token("patient/*.rs", patient="p")) == ["mine"]
    assert await ids(other, query) == []
    assert (await fhir.get(query, token=await fhir.token("system/Patient.rs"))).status_code == 403


async def test_a_relation_of_documents_stands_with_its_target(fhir: Client) -> None:
    plain = {"status": "current", "content": [{"attachment": {"title": "x"}}]}
    relations = [
        {"code": "replaces", "target": {"reference": "DocumentReference/old"}},
        {"code": "appends", "target": {"reference": "DocumentReference/base"}},
    ]
    await put(fhir, "DocumentReference", "new", **plain, relatesTo=relations)
    system = "http://hl7.org/fhir/document-relationship-type"
    for query, expected in (
        ("replaces$DocumentReference/old", ["new"]),
        (f"{system}|replaces$old", ["new"]),
        (f"{system}|appends$DocumentReference/old", []),
        ("urn:other|replaces$old", []),
        ("replaces$DocumentReference/base", []),
        (f"appends${fhir.base}/DocumentReference/base", ["new"]),
    ):
        assert await ids(fhir, f"/DocumentReference?relationship={query}") == expected, query


async def test_a_characteristic_of_a_group_stands_with_its_value(fhir: Client) -> None:
    characteristics = [
        {"code": concept("gender"), "valueCodeableConcept": concept("female", "urn:g"), "exclude": False},
        {"code": concept("pregnant"), "valueBoolean": True, "exclude": False},
    ]
    await put(fhir, "Group", "g", type="person", actual=True, characteristic=characteristics)
    assert await ids(fhir, "/Group?characteristic-value=gender$urn:g|female") == ["g"]
    assert await ids(fhir, "/Group?characteristic-value=pregnant$true") == ["g"]
    assert await ids(fhir, "/Group?characteristic-value=gender$true") == []
    assert await ids(fhir, "/Group?characteristic-value=pregnant$female") == []


async def test_contexts_stand_with_their_values(fhir: Client) -> None:
    age = {"low": {"value": 20, "system": UCUM, "code": "a"}, "high": {"value": 30, "system": UCUM, "code": "a"}}
    contexts = [
        {"code": {"system": "urn:t", "code": "age"}, "valueRange": age},
        {"code": {"system": "urn:t", "code": "focus"}, "valueCodeableConcept": concept("asthma", "urn:d")},
        {"code": {"system": "urn:t", "code": "dose"}, "valueQuantity": {"value": 500, "system": UCUM, "code": "mg"}},
    ]
    await put(fhir, "ValueSet", "v", status="active", useContext=contexts)
    await put(fhir, "Library", "l", status="active", type=concept("logic-library"), useContext=contexts[1:])
    for query, expected in (
        ("ValueSet?context-type-value=focus$asthma", ["v"]),
        ("ValueSet?context-type-value=age$asthma", []),
        (f"ValueSet?context-type-quantity=age$gt25|{UCUM}|a", ["v"]),
        (f"ValueSet?context-type-quantity=age$sa30|{UCUM}|a", []),
        (f"ValueSet?context-type-quantity=dose$0.5|{UCUM}|g", ["v"]),
        (f"ValueSet?context-type-quantity=age$0.5|{UCUM}|g", []),
        ("Library?context-type-value=urn:t|focus$urn:d|asthma", ["l"]),
        (f"Library?context-type-quantity=urn:t|dose$500|{UCUM}|mg", ["l"]),
    ):
        assert await ids(fhir, f"/{query}") == expected, query


async def test_the_ends_of_a_variant_stand_together_on_their_chromosome(fhir: Client) -> None:
    chromosome = concept("1", "http://terminology.hl7.org/CodeSystem/chromosome-human")
    await put(
        fhir,
        "MolecularSequence",
        "m",
        coordinateSystem=0,
        referenceSeq={"chromosome": chromosome, "referenceSeqId": concept("NC_1", "urn:r"), "windowStart": 100,
                      "windowEnd": 900},
        variant=[{"start": 110, "end": 120}, {"start": 500, "end": 600}],
    )  # fmt: skip
    for query, expected in (
        ("chromosome-variant-coordinate=1$ge100$le130", ["m"]),
        ("chromosome-variant-coordinate=1$ge400$le130", []),
        ("chromosome-variant-coordinate=2$ge100$le130", []),
        ("referenceseqid-variant-coordinate=urn:r|NC_1$500$600", ["m"]),
        ("chromosome-window-coordinate=1$lt200$gt800", ["m"]),
        ("referenceseqid-window-coordinate=NC_1$lt50$gt800", []),
    ):
        assert await ids(fhir, f"/MolecularSequence?{query}") == expected, query


@pytest.mark.parametrize(
    "query",
    [
        "component-code-value-quantity=sys",
        "component-code-value-quantity=sys$",
        "component-code-value-quantity=$5",
        "component-code-value-quantity=sys$5$6",
        "component-code-value-quantity=sys$many",
        "component-code-value-quantity:not=sys$5",
        "component-code-value-quantity:missing=true",
        "combo-code-value-quantity=a|b|c$5",
        "code-value-date=note$yesterday",
    ],
)
async def test_what_is_no_composite_is_a_400_that_names_the_parameter(fhir: Client, query: str) -> None:
    answer = await fhir.get(f"/Observation?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["issue"][0]["expression"][0]


async def test_the_server_says_that_it_has_them(fhir: Client) -> None:
    statement = (await fhir.get("/metadata")).json()
    params = {r["type"]: {p["name"]: p["type"] for p in r["searchParam"]} for r in statement["rest"][0]["resource"]}
    assert params["Observation"]["component-code-value-quantity"] == "composite"
    assert params["DocumentReference"]["relationship"] == "composite"
    assert params["MolecularSequence"]["chromosome-variant-coordinate"] == "composite"
