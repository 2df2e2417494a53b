"""Security labels: the server sets them, writers may add and never take away, and a Bundle carries the highest."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fhir import Client
from tests.http.belonging import observation, patient, put
from tests.http.consents import ACT, CONFIDENTIALITY, coded
from tests.http.test_clinic import Desk

ICD = "http://hl7.org/fhir/sid/icd-10-cm"


async def labels(client: Client, reference: str) -> set[str]:
    """Return the codes of the security labels of a resource."""
    return {one["code"] for one in (await client.get(f"/{reference}")).json()["meta"].get("security", [])}


async def condition(client: Client, code: str, system: str = ICD, **more: Any) -> None:
    """Write a Condition of this code."""
    about = {"code": {"coding": [{"system": system, "code": code}]}, "subject": {"reference": "Patient/p"}}
    await put(client, "Condition", "k", **about, **more)


@pytest.mark.parametrize(
    ("system", "code", "label"),
    [
        (ICD, "F10.20", "ETHUD"),
        (ICD, "F11.1", "OPIOIDUD"),
        (ICD, "B20", "HIV"),
        ("http://snomed.info/sct", "86406008", "HIV"),
    ],
)
async def test_codes_are_labelled_by_the_server(fhir: Client, system: str, code: str, label: str) -> None:
    await condition(fhir, code, system)
    assert await labels(fhir, "Condition/k") == {label, "R"}
    found = (await fhir.get(f"/Condition?_security={label}")).json()
    assert found["total"] == 1 if "total" in found else len(found["entry"]) == 1


async def test_what_is_no_clinical_record_is_not(fhir: Client) -> None:
    why = [{"coding": [{"system": ICD, "code": "B20"}]}]
    who = [{"actor": {"reference": "Patient/p"}, "status": "accepted"}]
    await put(fhir, "Appointment", "a", status="proposed", participant=who, reasonCode=why)
    assert await labels(fhir, "Appointment/a") == set()


@pytest.mark.parametrize("code", ["S83.2", "F17.210", "F32.1"])
async def test_other_codes_are_not(fhir: Client, code: str) -> None:
    await condition(fhir, code)
    assert await labels(fhir, "Condition/k") == set()


async def test_a_label_that_protects_is_not_taken_away_by_an_update(fhir: Client) -> None:
    await observation(fhir, meta={"security": coded(ACT, "PSYTHPN")})
    await observation(fhir)
    assert await labels(fhir, "Observation/o") == {"PSYTHPN", "R"}
    await observation(fhir, meta={"security": coded(CONFIDENTIALITY, "N")})
    assert await labels(fhir, "Observation/o") == {"PSYTHPN", "R", "N"}


async def test_nor_by_a_patch_or_by_meta_delete(fhir: Client) -> None:
    await observation(fhir, meta={"security": coded(ACT, "PSYTHPN")})
    patched = await fhir.request(
        "PATCH",
        "/Observation/o",
        json=[{"op": "remove", "path": "/meta/security"}],
        headers={"content-type": "application/json-patch+json"},
    )
    assert patched.status_code == 200, patched.text
    given = {"name": "meta", "valueMeta": {"security": coded(ACT, "PSYTHPN")}}
    await fhir.post("/Observation/o/$meta-delete", json={"resourceType": "Parameters", "parameter": [given]})
    assert await labels(fhir, "Observation/o") == {"PSYTHPN", "R"}


async def test_nor_by_a_transaction(fhir: Client) -> None:
    await patient(fhir)
    await observation(fhir, meta={"security": coded(ACT, "HIV")})
    plain = {"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}}
    entry = {"resource": plain, "request": {"method": "PUT", "url": "Observation/o"}}
    answer = await fhir.post("/", json={"resourceType": "Bundle", "type": "transaction", "entry": [entry]})
    assert answer.status_code == 200, answer.text
    assert await labels(fhir, "Observation/o") == {"HIV", "R"}


async def test_what_says_the_same_but_for_labels_that_stay_makes_no_version(fhir: Client) -> None:
    await observation(fhir, meta={"security": coded(ACT, "HIV")})
    await observation(fhir)
    assert (await fhir.get("/Observation/o")).json()["meta"]["versionId"] == "1"


async def test_a_person_takes_a_label_away_and_codes_bring_theirs_back(fhir: Client) -> None:
    await condition(fhir, "F10.20", meta={"security": coded(ACT, "PSYTHPN")})
    desk = Desk(fhir, await fhir.token("system/*.cruds"))
    answer = await desk.post("/labels/remove", reference="Condition/k", codes=["PSYTHPN", "ETHUD", "R"])
    assert answer.status_code == 204, answer.text
    assert await labels(fhir, "Condition/k") == {"ETHUD", "R"}
    reader = Desk(fhir, await fhir.token("system/*.rs"))
    assert (await reader.post("/labels/remove", reference="Condition/k", codes=["R"])).status_code == 403


async def test_part_2_carries_that_it_may_not_be_disclosed_further(fhir: Client) -> None:
    await observation(fhir, meta={"security": coded(ACT, "42CFRPART2")})
    assert await labels(fhir, "Observation/o") == {"42CFRPART2", "R", "NORDSCLCD"}


async def test_a_bundle_carries_the_highest_confidentiality_of_its_entries(fhir: Client) -> None:
    await patient(fhir)
    assert "security" not in (await fhir.get("/Patient")).json()["meta"]
    await observation(fhir, meta={"security": coded(CONFIDENTIALITY, "N")})
    found = (await fhir.get("/Observation")).json()
    assert found["meta"]["security"] == [{"system": CONFIDENTIALITY, "code": "N"}]
    await observation(fhir, "part2", meta={"security": coded(ACT, "42CFRPART2")})
    for path in ("/Observation", "/Patient/p/$everything", "/Observation/_history"):
        marks = {one["code"] for one in (await fhir.get(path)).json()["meta"]["security"]}
        assert marks == {"R", "NORDSCLCD"}, path


async def test_a_decimal_keeps_its_digits_beside_a_label(fhir: Client) -> None:
    body = b'{"resourceType":"Observation","id":"d","status":"final","code":{"coding":[{"system":"http://loinc.org",'
    body += b'"code":"7917-8"}]},"valueQuantity":{"value":1.500}}'
    await fhir.put("/Observation/d", content=body, headers={"content-type": "application/fhir+json"})
    assert b"1.500" in (await fhir.get("/Observation/d")).content
    assert await labels(fhir, "Observation/d") == {"HIV", "R"}
