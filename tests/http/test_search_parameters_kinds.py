"""What a tenant can define search parameters of. http://hl7.org/fhir/R4/searchparameter.html"""

from __future__ import annotations

import tarfile
from typing import Any

import msgspec
import pytest

from fhir_server.app import jobs
from tests.conformance.examples import SHARED
from tests.fhir import Client
from tests.http.parameters import (
    COLOR,
    URL,
    U,
    color,
    extension,
    ids,
    parameter,
    patient,
    put,
    searchable,
    state,
)


async def test_a_reference_is_chained_and_included(fhir: Client) -> None:
    coach = {"resourceType": "Practitioner", "id": "coach", "name": [{"family": "Coach"}]}
    link = extension(U, valueReference={"reference": "Practitioner/coach"})
    await put(fhir, coach, patient("led", link), patient("alone"))
    own = parameter(
        "coach", type="reference", target=["Practitioner"], expression=f"Patient.extension('{U}').value.as(Reference)"
    )
    await searchable(fhir, own)
    assert await ids(fhir, "/Patient?coach=Practitioner/coach") == ["led"]
    assert await ids(fhir, "/Patient?coach:Practitioner=coach") == ["led"]
    assert await ids(fhir, "/Patient?coach.family=coach") == ["led"]
    assert await ids(fhir, "/Practitioner?_has:Patient:coach:_id=led") == ["coach"]
    assert await ids(fhir, "/Patient?_id=led&_include=Patient:coach") == ["coach", "led"]
    assert await ids(fhir, "/Patient?_id=led&_include=*") == ["coach", "led"]
    assert await ids(fhir, "/Practitioner?_id=coach&_revinclude=Patient:coach") == ["coach", "led"]
    observation = {"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}}
    await put(fhir, observation | {"subject": {"reference": "Patient/led"}})
    assert await ids(fhir, "/Observation?patient.coach.family=coach") == ["o"]


async def test_several_bases_and_the_rest_of_the_specifications_own(fhir: Client) -> None:
    await put(
        fhir, patient("p", color("blue")), {"resourceType": "Practitioner", "id": "d", "extension": [color("red")]}
    )
    both = " | ".join(f"{name}.extension('{URL}').value.as(CodeableConcept)" for name in ("Patient", "Practitioner"))
    await searchable(fhir, parameter(base=["Patient", "Practitioner"], expression=both))
    assert await ids(fhir, "/Patient?color=blue") == ["p"]
    assert await ids(fhir, "/Practitioner?color=red") == ["d"]
    assert await ids(fhir, "/?_type=Patient,Practitioner&color=red,blue") == ["d", "p"]
    assert (await fhir.get("/Observation?color=red")).status_code == 400


async def test_the_specifications_own_meaning_is_built_in_and_another_is_refused(fhir: Client) -> None:
    same = parameter("family", code="family", type="string", expression="Patient.name.family")
    await put(fhir, patient("p", name=[{"family": "Ng"}]), same)
    assert (await state(fhir, "family"))["state"] == "built-in"
    assert await ids(fhir, "/Patient?family=ng") == ["p"]
    answer = await fhir.put("/SearchParameter/x", json=parameter("x", code="family"))
    assert answer.status_code == 422
    assert "individual-family" in answer.text


async def test_a_composite_of_r4s_parameters_is_searched(fhir: Client) -> None:
    spec = "http://hl7.org/fhir/SearchParameter/"
    parts = [
        {"definition": f"{spec}individual-gender", "expression": "gender"},
        {"definition": f"{spec}individual-birthdate", "expression": "birthDate"},
    ]
    await put(fhir, patient("f", gender="female", birthDate="1970-01-01"), patient("m", gender="male"))
    own = parameter("who", code="who", type="composite", expression="Patient", component=parts)
    await searchable(fhir, own)
    assert await ids(fhir, "/Patient?who=female$1970") == ["f"]
    assert await ids(fhir, "/Patient?who=male$1970") == []


async def test_one_of_every_type_is_searched_in_all_of_them(fhir: Client) -> None:
    observation = {"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}}
    group = {"resourceType": "Basic", "id": "b", "code": {"text": "x"}}
    marked = {"extension": [color("blue")]}
    await put(fhir, patient("p", color("blue")), observation | marked, group | marked, patient("q"))
    anywhere = "DomainResource.extension('https://clinic.example/color').value.as(CodeableConcept)"
    await searchable(fhir, parameter(base=["DomainResource"], expression=anywhere))
    assert await ids(fhir, "/?_type=Patient,Observation,Basic&color=blue") == ["b", "o", "p"]
    # The parameter is a resource too.
    assert (await state(fhir))["total"] == 5
    # A Bundle is no DomainResource.
    assert (await fhir.get("/Bundle?color=blue")).status_code == 400


async def test_us_cores_search_parameters_are_all_taken_and_race_is_found(fhir: Client) -> None:
    found = [one for one in _us_core() if one["resourceType"] == "SearchParameter"]
    assert len(found) > 100
    entries = [{"resource": one, "request": {"method": "PUT", "url": f"SearchParameter/{one['id']}"}} for one in found]
    answer = await fhir.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert answer.status_code == 200, answer.text
    race = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
    category = {"url": "ombCategory", "valueCoding": {"system": "urn:oid:2.16.840.1.113883.6.238", "code": "2106-3"}}
    await put(fhir, patient("p", {"url": race, "extension": [category]}))
    await jobs(fhir.concord).drain()
    assert await ids(fhir, "/Patient?race=2106-3") == ["p"]
    states = {one["id"]: (await state(fhir, one["id"]))["state"] for one in found}
    assert set(states.values()) == {"active", "built-in"}
    assert states["us-core-race"] == "active"
    assert states["us-core-patient-family"] == "built-in"


def _us_core() -> list[dict[str, Any]]:
    """Return the resources of US Core's package; skip the test where it is absent."""
    package = SHARED / "packages" / "hl7.fhir.us.core-7.0.0.tgz"
    if not package.exists():
        pytest.skip("the package hl7.fhir.us.core stands beside the project only where its data does")
    with tarfile.open(package) as archive:
        names = [m for m in archive if m.name.startswith("package/SearchParameter-")]
        return [msgspec.json.decode(content.read()) for m in names if (content := archive.extractfile(m))]


async def test_codes_are_looked_for_by_value_set(fhir: Client) -> None:
    warm = {
        "resourceType": "ValueSet",
        "id": "warm",
        "url": "https://clinic.example/warm",
        "status": "active",
        "compose": {"include": [{"system": COLOR, "concept": [{"code": "red"}, {"code": "orange"}]}]},
    }
    await put(fhir, warm, patient("r", color("red")), patient("b", color("blue")))
    await searchable(fhir, parameter())
    assert await ids(fhir, "/Patient?color:in=https://clinic.example/warm") == ["r"]
    assert await ids(fhir, "/Patient?color:not-in=https://clinic.example/warm") == ["b"]


async def test_pages_are_sorted_by_it(fhir: Client) -> None:
    for id_, day, word in (("b", "2024-02-01", "pear"), ("a", "2024-03-01", "Apple"), ("c", "2024-01-01", "fig")):
        kinds = [extension(f'{U}/"kind"', valueCoding={"code": "first"})] if id_ == "b" else []
        own = (extension(U, valueDate=day), extension(f"{U}/word", valueString=word), *kinds)
        await put(fhir, patient(id_, *own))
    await put(fhir, patient("none"))
    day = parameter("day", type="date", expression=f"Patient.extension('{U}').value.as(date)")
    word = parameter("word", type="string", expression=f"Patient.extension('{U}/word').value.as(string)")
    await put(fhir, day)
    assert (await fhir.get("/Patient?_sort=day")).status_code == 409
    kind = parameter("kind", expression=f"Patient.extension('{U}/\"kind\"').value.as(Coding)")
    await searchable(fhir, word, kind)
    orders = {"day": "cban", "-day": "abcn", "word": "acbn", "-word,day": "bcan", "kind,-day": "bacn"}
    for order, expected in orders.items():
        answer = await fhir.get(f"/Patient?_sort={order}")
        assert answer.status_code == 200, answer.text
        assert "".join(entry["resource"]["id"][0] for entry in answer.json()["entry"]) == expected
