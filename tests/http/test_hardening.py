"""What an attacker or an odd client once got through, or got a fault of the server for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fhir import Client

JSON_PATCH = {"content-type": "application/json-patch+json"}


def observation(patient: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": f"Patient/{patient}"},
    } | more


async def test_history_before_a_correction_stays_with_the_patient_whose_it_was(fhir: Client) -> None:
    made = (await fhir.post("/Observation", json=observation("wrong", note=[{"text": "Canary"}]))).json()
    await fhir.put(f"/Observation/{made['id']}", json=observation("right", id=made["id"]))
    right = await fhir.token("patient/*.rs", patient="right")
    for path in (f"/Observation/{made['id']}/_history", "/Observation/_history", "/_history"):
        answer = await fhir.get(path, token=right)
        assert answer.status_code == 200, path
        assert [e["resource"]["meta"]["versionId"] for e in answer.json()["entry"]] == ["2"]
        assert "Canary" not in answer.text
    assert (await fhir.get(f"/Observation/{made['id']}/_history/1", token=right)).status_code == 404
    assert (await fhir.get(f"/Observation/{made['id']}/_history/2", token=right)).status_code == 200


async def test_a_scope_for_one_interaction_lifts_no_wall_of_another(fhir: Client) -> None:
    token = await fhir.token("patient/Observation.crus system/Observation.d", patient="mine")
    assert (await fhir.post("/Observation", json=observation("theirs"), token=token)).status_code == 403
    mine = (await fhir.post("/Observation", json=observation("mine"), token=token)).json()
    moved = observation("theirs", id=mine["id"])
    assert (await fhir.put(f"/Observation/{mine['id']}", json=moved, token=token)).status_code == 403


async def test_a_patch_needs_the_right_to_read_what_it_answers(fhir: Client) -> None:
    made = (await fhir.post("/Observation", json=observation("a"))).json()
    token = await fhir.token("system/Observation.u")
    answer = await fhir.request("PATCH", f"/Observation/{made['id']}", content=b"[]", headers=JSON_PATCH, token=token)
    assert answer.status_code == 403


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
async def test_a_moment_at_the_edge_of_time_is_stored_and_found(fhir: Client, moment: str) -> None:
    made = await fhir.post("/Observation", json=observation("edge", effectiveDateTime=moment))
    assert made.status_code == 201
    found = await fhir.get("/Observation", params={"date": moment})
    assert found.status_code == 200
    assert (await fhir.get("/Observation?date=gt2000")).status_code == 200


async def test_a_search_of_very_many_parameters_is_refused(fhir: Client) -> None:
    many = [("name", f"a{n}") for n in range(30)]
    assert (await fhir.get("/Patient", params=many)).status_code == 400
    assert (await fhir.get("/Patient", params=many * 20)).status_code == 400
    assert (await fhir.get("/Patient", params=many[:20])).status_code == 200


async def test_a_write_of_very_many_identifiers_is_413(fhir: Client) -> None:
    identifiers = [{"system": "http://s", "value": str(n)} for n in range(10_001)]
    answer = await fhir.post("/Patient", json={"resourceType": "Patient", "identifier": identifiers})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "since", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Mon, 01 Jan 2020 00:00:99999999999999999999 GMT"]
)
async def test_an_impossible_date_in_if_modified_since_is_ignored(fhir: Client, since: str) -> None:
    made = (await fhir.post("/Patient", json={"resourceType": "Patient"})).json()
    answer = await fhir.get(f"/Patient/{made['id']}", headers={"if-modified-since": since})
    assert answer.status_code == 200


@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_an_entry_with_an_impossible_address_is_a_clients_fault(fhir: Client, kind: str) -> None:
    entry = {"request": {"method": "GET", "url": "http://[x"}}
    answer = await fhir.post("", json={"resourceType": "Bundle", "type": kind, "entry": [entry]})
    told = answer.json()["entry"][0]["response"]["status"] if kind == "batch" else str(answer.status_code)
    assert told == "400"


@pytest.mark.parametrize("op", ['["x"]', "{}", "null", "1"])
async def test_a_json_patch_with_an_impossible_op_is_a_clients_fault(fhir: Client, op: str) -> None:
    made = (await fhir.post("/Patient", json={"resourceType": "Patient"})).json()
    body = f'[{{"op":{op},"path":""}}]'.encode()
    answer = await fhir.request("PATCH", f"/Patient/{made['id']}", content=body, headers=JSON_PATCH)
    assert answer.status_code == 400


async def test_a_delete_of_what_can_be_no_id_is_400(fhir: Client) -> None:
    assert (await fhir.delete("/Patient/%00")).status_code == 400


@pytest.mark.parametrize("place", ["/Patient//$meta-add", "/Patient//$meta-delete", "/Patient/a%20b/$meta-add"])
async def test_meta_of_what_can_be_no_id_is_400(fhir: Client, place: str) -> None:
    body = {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": {"tag": [{"code": "a"}]}}]}
    assert (await fhir.post(place, json=body)).status_code == 400


async def test_a_patch_of_what_can_be_no_id_is_400(fhir: Client) -> None:
    answer = await fhir.request("PATCH", "/Patient/a%20b", content=b"[]", headers=JSON_PATCH)
    assert answer.status_code == 400
