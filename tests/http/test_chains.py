"""Chained and reverse chained searches over HTTP, and what they may not tell. http://hl7.org/fhir/R4/search.html#chaining"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from fhir_server.store import tenants
from tests.fhir import Client, running
from tests.http.test_search import ids

LOINC = "http://loinc.org"


async def put(fhir: Client, resource: dict[str, Any]) -> None:
    """Store a resource under its id."""
    answer = await fhir.put(f"/{resource['resourceType']}/{resource['id']}", json=resource)
    assert answer.status_code in (200, 201), answer.text


async def ward(fhir: Client) -> None:
    """Store two patients: Ada of the hospital with an encounter and a result, Bob of nobody with a result."""
    await put(fhir, {"resourceType": "Organization", "id": "group", "name": "Helvetia Group"})
    hospital = {
        "resourceType": "Organization",
        "id": "hospital",
        "name": "Hospital",
        "partOf": ref("Organization/group"),
    }
    await put(fhir, hospital)
    await put(fhir, {"resourceType": "Practitioner", "id": "doc", "name": [{"family": "House"}]})
    ada = {"resourceType": "Patient", "id": "ada", "name": [{"family": "Lovelace"}], "birthDate": "1815-12-10"}
    await put(fhir, ada | {"managingOrganization": ref("Organization/hospital")})
    await put(fhir, {"resourceType": "Patient", "id": "bob", "name": [{"family": "Ross"}], "gender": "male"})
    encounter = {"resourceType": "Encounter", "id": "visit", "status": "finished", "class": {"code": "AMB"}}
    await put(fhir, encounter | {"subject": ref("Patient/ada")})
    await put(fhir, result("ada-hb", "ada", "718-7") | {"encounter": ref("Encounter/visit")})
    await put(fhir, result("bob-na", "bob", "2951-2") | {"performer": [ref("Practitioner/doc")]})


def ref(target: str) -> dict[str, str]:
    """Return a reference."""
    return {"reference": target}


def result(name: str, patient: str, code: str) -> dict[str, Any]:
    """Return an Observation of a patient."""
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": ref(f"Patient/{patient}"),
    }


FOUND: list[tuple[str, list[str]]] = [
    ("/Observation?subject:Patient.name=love", ["ada-hb"]),
    ("/Observation?subject.name=love", ["ada-hb"]),
    ("/Observation?patient.name=love,ross", ["ada-hb", "bob-na"]),
    ("/Observation?patient.name=nobody", []),
    ("/Observation?patient.organization.name=hosp", ["ada-hb"]),
    ("/Observation?patient.organization.partof.name=helvetia", ["ada-hb"]),
    ("/Observation?patient.birthdate=1815&code=718-7", ["ada-hb"]),
    ("/Observation?patient.birthdate=1815&code=2951-2", []),
    ("/Observation?performer:Practitioner.family=house&patient.gender=male", ["bob-na"]),
    ("/Observation?encounter.patient.name=lovelace", ["ada-hb"]),
    ("/Patient?_has:Observation:patient:code=718-7", ["ada"]),
    ("/Patient?_has:Observation:patient:code=718-7,2951-2", ["ada", "bob"]),
    ("/Patient?_has:Observation:patient:code=1-1", []),
    ("/Patient?_has:Observation:subject:performer:Practitioner.family=house", ["bob"]),
    ("/Patient?_has:Encounter:patient:_has:Observation:encounter:code=718-7", ["ada"]),
    ("/Patient?_has:Encounter:patient:_has:Observation:encounter:code=2951-2", []),
    ("/Observation?patient._has:Encounter:patient:status=finished", ["ada-hb"]),
    ("/Organization?_has:Patient:organization:_has:Observation:patient:code=718-7", ["hospital"]),
    ("/Patient?_has:Observation:patient:code=718-7&_has:Observation:patient:code=2951-2", []),
]


async def test_chains_and_reverse_chains_find_through_other_resources(fhir: Client) -> None:
    await ward(fhir)
    for query, expected in FOUND:
        assert sorted(await ids(fhir, query)) == expected, query
        if expected:
            total = (await fhir.get(f"{query}&_summary=count")).json()["total"]
            assert total == len(expected), query


async def test_what_was_deleted_is_no_link(fhir: Client) -> None:
    await ward(fhir)
    await fhir.delete("/Observation/ada-hb")
    assert await ids(fhir, "/Patient?_has:Observation:patient:code=718-7") == []
    await fhir.delete("/Patient/bob")
    assert await ids(fhir, "/Observation?patient.name=ross") == []


async def test_a_patients_token_learns_nothing_of_others_by_a_chain(fhir: Client) -> None:
    await ward(fhir)
    # Bob's result names Ada's visit: what Bob may see must not tell of Ada.
    await put(fhir, result("bob-odd", "bob", "718-7") | {"encounter": ref("Encounter/visit")})
    token = await fhir.token("patient/*.rs", patient="bob")

    async def seen(query: str) -> list[str]:
        answer = await fhir.get(query, token=token)
        assert answer.status_code == 200, answer.text
        return sorted(e["resource"]["id"] for e in answer.json().get("entry", []))

    assert await seen("/Observation?patient.name=ross") == ["bob-na", "bob-odd"]
    assert await seen("/Observation?performer:Practitioner.family=house") == ["bob-na"]
    assert await seen("/Observation?encounter.status=finished") == []
    assert await seen("/Observation?encounter.patient.name=lovelace") == []
    assert await seen("/Organization?_has:Patient:organization:name=lovelace") == []
    assert await seen("/Patient?_has:Observation:patient:code=718-7") == ["bob"]
    assert await seen("/Practitioner?_has:Observation:performer:patient.name=ross") == ["doc"]
    # Ada's encounter is no bridge, although Bob's own result stands at the end of it.
    assert await seen("/Patient?_has:Observation:patient:encounter.patient.name=lovelace") == []
    ada = await fhir.token("patient/*.rs", patient="ada")
    answer = await fhir.get("/Practitioner?_has:Observation:performer:code=2951-2", token=ada)
    assert "entry" not in answer.json()


async def test_a_chain_needs_a_scope_for_every_type_it_goes_through(fhir: Client) -> None:
    await ward(fhir)
    token = await fhir.token("system/Observation.rs system/Practitioner.r")
    for query in (
        "/Observation?patient.name=love",
        "/Observation?performer:Practitioner.family=house",
        "/Observation?performer:Practitioner._has:Encounter:participant:status=finished",
    ):
        assert (await fhir.get(query, token=token)).status_code == 403, query
    both = await fhir.token("system/Observation.rs system/Patient.rs")
    assert (await fhir.get("/Patient?_has:Encounter:patient:status=finished", token=both)).status_code == 403
    # Of the types that a reference may lead to, those that may not be searched are left out.
    answer = await fhir.get("/Observation?subject.identifier=x,y", token=both)
    assert answer.status_code == 200


async def test_another_tenants_resources_are_no_links(fhir: Client, other: Client) -> None:
    await ward(other)
    await put(fhir, {"resourceType": "Patient", "id": "ada"})
    await put(fhir, result("mine", "ada", "1-1"))
    assert await ids(fhir, "/Observation?patient.name=lovelace") == []
    assert await ids(fhir, "/Patient?_has:Observation:patient:code=718-7") == []
    assert await ids(fhir, "/Patient?_has:Observation:patient:code=1-1") == ["ada"]


@pytest.mark.parametrize(("limit", "status"), [(1, 400), (2, 200)])
async def test_a_chain_to_too_many_is_refused_and_a_common_reverse_chain_asked_of_each_row(
    server_dsn: str, limit: int, status: int
) -> None:
    async with running(server_dsn, max_chain_targets=limit) as (concord, clock), httpx.AsyncClient(timeout=30) as http:
        fhir = Client(concord, clock, await tenants.add(concord.db, f"limit-{limit}-{clock().timestamp():.0f}"), http)
        await ward(fhir)
        answer = await fhir.get("/Observation?patient.name=love,ross")
        assert answer.status_code == status
        assert status == 200 or "more than 1 resources" in answer.json()["issue"][0]["diagnostics"]
        assert sorted(await ids(fhir, "/Patient?_has:Observation:patient:status=final")) == ["ada", "bob"]
        assert await ids(fhir, "/Patient?_has:Observation:patient:status=final&gender=male") == ["bob"]
        token = await fhir.token("patient/*.rs", patient="bob")
        found = (await fhir.get("/Patient?_has:Observation:patient:status=final", token=token)).json()
        assert [e["resource"]["id"] for e in found["entry"]] == ["bob"]
        nested = "/Organization?_has:Patient:organization:_has:Observation:patient:status=final"
        assert await ids(fhir, nested) == ["hospital"]
