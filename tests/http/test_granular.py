"""Granular scopes are enforced by every way to a record: union across scopes, all parameters within one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fhir import Client

CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
LAB, VITAL, SOCIAL = "laboratory", "vital-signs", "social-history"


async def result(fhir: Client, who: str, category: str, code: str = "x") -> str:
    """Add an Observation, and return its id."""
    resource = {
        "resourceType": "Observation", "status": "final", "code": {"coding": [{"system": "urn:c", "code": code}]},
        "category": [{"coding": [{"system": CATEGORY, "code": category}]}], "subject": {"reference": who},
    }  # fmt: skip
    return str((await fhir.post("/Observation", json=resource)).json()["id"])


@pytest.fixture
async def who(fhir: Client) -> str:
    """Return a Patient."""
    return f"Patient/{(await fhir.post('/Patient', json={'resourceType': 'Patient'})).json()['id']}"


async def ids(fhir: Client, path: str, token: str) -> set[str]:
    """Return the ids of the Observations that an answer holds."""
    answer = await fhir.get(path, token=token)
    assert answer.status_code == 200, answer.text
    found = [e["resource"] for e in answer.json().get("entry", ()) if "resource" in e]
    return {one["id"] for one in found if one["resourceType"] == "Observation"}


async def test_only_what_matches_is_read_searched_counted_and_followed(fhir: Client, who: str) -> None:
    lab, vital = await result(fhir, who, LAB), await result(fhir, who, VITAL)
    name = who.partition("/")[2]
    token = await fhir.token(f"patient/Observation.rs?category={CATEGORY}|{LAB} patient/Patient.rs", patient=name)
    assert (await fhir.get(f"/Observation/{lab}", token=token)).status_code == 200
    for path in (f"/Observation/{vital}", f"/Observation/{vital}/_history", f"/Observation/{vital}/_history/1"):
        assert (await fhir.get(path, token=token)).status_code == 404, path
    for path in (
        "/Observation", f"/Observation?category={VITAL},{LAB}", f"/{who}/Observation", "/Observation/_history",
        f"/Patient?_id={name}&_revinclude=Observation:subject", f"/{who}/$everything",
        f"/Observation?_id={vital},{lab}",
        f"/Observation/$lastn?patient={name}&category={LAB},{VITAL}",
    ):  # fmt: skip
        assert await ids(fhir, path, token) == {lab}, path
    assert await ids(fhir, f"/Observation?category={VITAL}", token) == set()
    assert (await fhir.get("/Observation?_summary=count", token=token)).json()["total"] == 1
    has = await fhir.get(f"/Patient?_has:Observation:patient:category={VITAL}", token=token)
    assert "entry" not in has.json()
    posted = await fhir.post("/Observation/_search", data={"category": VITAL}, token=token)
    assert "entry" not in posted.json()


async def test_several_scopes_add_up_and_the_parameters_of_one_must_all_hold(fhir: Client, who: str) -> None:
    lab, other, vital = await result(fhir, who, LAB), await result(fhir, who, LAB, "y"), await result(fhir, who, VITAL)
    await result(fhir, who, SOCIAL)
    name = who.partition("/")[2]
    both = f"patient/Observation.rs?category={LAB}&code=urn:c|x"
    assert await ids(fhir, "/Observation", await fhir.token(both, patient=name)) == {lab}
    union = await fhir.token(f"{both} patient/Observation.rs?category={VITAL}", patient=name)
    assert await ids(fhir, "/Observation", union) == {lab, vital}
    encoded = await fhir.token(f"patient/Observation.rs?category={VITAL}%2C{LAB}&code=urn:c%7Cx", patient=name)
    assert await ids(fhir, "/Observation", encoded) == {lab, vital}
    # An encoded & is part of the value, and widens nothing.
    odd = await fhir.token(f"patient/Observation.rs?category={LAB}%26code=y", patient=name)
    assert await ids(fhir, "/Observation", odd) == set()
    whole = await fhir.token(f"{both} patient/Observation.rs", patient=name)
    assert other in await ids(fhir, "/Observation", whole)


async def test_nothing_can_be_written_that_does_not_match(fhir: Client, who: str) -> None:
    lab, vital = await result(fhir, who, LAB), await result(fhir, who, VITAL)
    token = await fhir.token(f"patient/Observation.cruds?category={LAB}", patient=who.partition("/")[2])
    stored = (await fhir.get(f"/Observation/{lab}")).json()

    def as_(category: str) -> dict[str, Any]:
        return stored | {"category": [{"coding": [{"system": CATEGORY, "code": category}]}]}

    assert (await fhir.post("/Observation", json=as_(VITAL), token=token)).status_code == 403
    assert (await fhir.post("/Observation", json=as_(LAB), token=token)).status_code == 201
    assert (await fhir.put(f"/Observation/{lab}", json=as_(VITAL), token=token)).status_code == 403
    assert (await fhir.put(f"/Observation/{vital}", json=as_(LAB) | {"id": vital}, token=token)).status_code == 404
    assert (await fhir.delete(f"/Observation/{vital}", token=token)).status_code == 404
    patch = [{"op": "replace", "path": "/category/0/coding/0/code", "value": VITAL}]
    kind = {"content-type": "application/json-patch+json"}
    assert (
        await fhir.request("PATCH", f"/Observation/{lab}", json=patch, headers=kind, token=token)
    ).status_code == 403
    query = f"/Observation?category={VITAL}"
    assert (await fhir.delete(query, token=token)).status_code == 204
    assert (await fhir.get(f"/Observation/{vital}")).status_code == 200
    none = await fhir.post("/Observation", json=as_(LAB), token=token, headers={"if-none-exist": f"category={VITAL}"})
    assert none.status_code == 201


async def test_a_value_that_only_rows_can_tell_is_asked_of_the_rows_as_written(fhir: Client, who: str) -> None:
    token = await fhir.token("patient/Observation.cruds?date=ge2024", patient=who.partition("/")[2])
    base = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": {"reference": who}}
    late, early = base | {"effectiveDateTime": "2024-05-01"}, base | {"effectiveDateTime": "2020-05-01"}
    assert (await fhir.post("/Observation", json=late, token=token)).status_code == 201
    assert (await fhir.post("/Observation", json=early, token=token)).status_code == 403
    entries = [{"resource": one, "request": {"method": "POST", "url": "Observation"}} for one in (late, early)]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    assert (await fhir.post("", json=bundle, token=token)).status_code == 403
    assert (await fhir.get("/Observation?_summary=count")).json()["total"] == 1


async def test_a_scope_that_cannot_be_understood_allows_nothing(fhir: Client, who: str) -> None:
    await result(fhir, who, LAB)
    for scope in ("system/Observation.rs?nonsense=1", "system/Observation.rs?patient.name=x"):
        assert await ids(fhir, "/Observation", await fhir.token(scope)) == set()
    assert (await fhir.get("/Observation", token=await fhir.token("system/Observation.rs?x"))).status_code == 403


async def test_a_narrow_system_scope_narrows(fhir: Client, who: str) -> None:
    lab = await result(fhir, who, LAB)
    await result(fhir, who, VITAL)
    assert await ids(fhir, "/Observation", await fhir.token(f"system/Observation.rs?category={LAB}")) == {lab}
