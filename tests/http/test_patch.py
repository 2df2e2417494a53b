"""PATCH by JSON Patch and merge patch, alone, conditional and in bundles. http://hl7.org/fhir/R4/http.html#patch"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.fhir import Client

PATIENT = {
    "resourceType": "Patient",
    "identifier": [{"system": "http://ids.example", "value": "1"}],
    "name": [{"family": "Old"}],
}
JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"


async def made(fhir: Client, resource: dict[str, Any] = PATIENT) -> str:
    answer = await fhir.post(f"/{resource['resourceType']}", json=resource)
    return f"/{resource['resourceType']}/{answer.json()['id']}"


async def patch(fhir: Client, place: str, body: Any, kind: str = JSON_PATCH, **more: Any) -> httpx.Response:
    headers = {"content-type": kind, **more.pop("headers", {})}
    content = body if isinstance(body, str) else json.dumps(body)
    return await fhir.request("PATCH", place, content=content, headers=headers, **more)


RENAME = [{"op": "replace", "path": "/name/0/family", "value": "New"}]


async def test_a_json_patch_makes_a_new_version(fhir: Client) -> None:
    place = await made(fhir)
    answer = await patch(fhir, place, RENAME)
    assert (answer.status_code, answer.headers["etag"]) == (200, 'W/"2"')
    assert answer.json()["name"] == [{"family": "New"}]
    assert (await fhir.get(place)).json() == answer.json()
    assert (await fhir.get("/Patient?family=new&_summary=count")).json()["total"] == 1
    assert (await fhir.get("/Patient?family=old&_summary=count")).json()["total"] == 0


async def test_a_merge_patch_sets_and_takes_away(fhir: Client) -> None:
    place = await made(fhir)
    answer = await patch(fhir, place, {"name": None, "active": True}, MERGE_PATCH + "; charset=utf-8")
    assert answer.status_code == 200
    assert (answer.json()["active"], answer.json().get("name")) == (True, None)


async def test_a_patch_that_only_calls_itself_json_is_known_by_its_shape(fhir: Client) -> None:
    place = await made(fhir)
    change = {"name": "type", "valueCode": "replace"}, {"name": "path", "valueString": "Patient.name[0].family"}
    value = {"name": "value", "valueString": "Third"}
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [*change, value]}]}
    for body, family in ((RENAME, "New"), ({"name": [{"family": "Merged"}]}, "Merged"), (parameters, "Third")):
        answer = await patch(fhir, place, body, "application/json")
        assert answer.status_code == 200, answer.text
        assert answer.json()["name"][0]["family"] == family
    assert (await patch(fhir, place, "7", "application/json")).status_code == 400


async def test_a_patch_that_changes_nothing_keeps_the_version(fhir: Client) -> None:
    place = await made(fhir)
    for body, kind in (([], JSON_PATCH), ({}, MERGE_PATCH), ({"meta": {"versionId": "9"}}, MERGE_PATCH)):
        answer = await patch(fhir, place, body, kind)
        assert (answer.status_code, answer.headers["etag"]) == (200, 'W/"1"'), answer.text


async def test_decimals_keep_their_digits_and_big_numbers_their_size(fhir: Client) -> None:
    text = '{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.500}}'
    place = "/Observation/" + (await fhir.post("/Observation", content=text)).json()["id"]
    assert '"value":1.500' in (await patch(fhir, place, {"status": "amended"}, MERGE_PATCH)).text
    new = '[{"op":"replace","path":"/valueQuantity/value","value":100.00000000000000000010}]'
    assert '"value":100.00000000000000000010' in (await patch(fhir, place, new)).text
    digits = await patch(fhir, place, '[{"op":"replace","path":"/valueQuantity/value","value":100.0}]')
    assert (digits.headers["etag"], '"value":100.0}' in digits.text) == ('W/"4"', True)


async def test_a_failed_test_is_422_and_changes_nothing(fhir: Client) -> None:
    place = await made(fhir)
    guarded = [{"op": "test", "path": "/name/0/family", "value": "Other"}, *RENAME]
    assert (await patch(fhir, place, guarded)).status_code == 422
    assert (await patch(fhir, place, [{"op": "remove", "path": "/none"}])).status_code == 422
    assert (await fhir.get(place)).headers["etag"] == 'W/"1"'


@pytest.mark.parametrize(
    "change",
    [
        {"birthDate": "soon"},
        {"nonsense": 1},
        {"id": "other"},
        {"id": None},
        {"resourceType": "Group"},
        {"name": []},
        {"name": [{"family": "a\u0000"}]},
    ],
)
async def test_what_would_be_no_valid_resource_of_this_id_is_400(fhir: Client, change: dict[str, Any]) -> None:
    place = await made(fhir)
    answer = await patch(fhir, place, change, MERGE_PATCH)
    assert answer.status_code == 400, answer.text
    assert (await fhir.get(place)).headers["etag"] == 'W/"1"'


async def test_what_is_no_patch_is_refused(fhir: Client) -> None:
    place = await made(fhir)
    assert (await patch(fhir, place, "{")).status_code == 400
    assert (await patch(fhir, place, [{"op": "spin", "path": "/a"}])).status_code == 400
    assert (await patch(fhir, place, "[" * 5000)).status_code == 413
    assert (await patch(fhir, place, "<Patient/>", "application/xml")).status_code == 415
    assert (await patch(fhir, place, {}, "")).status_code == 415
    assert (await patch(fhir, "/Patient/none", RENAME)).status_code == 404
    await fhir.delete(place)
    gone = await patch(fhir, place, RENAME)
    assert gone.status_code == 410
    assert "expression" not in gone.json()["issue"][0]


async def test_if_match_guards_a_patch(fhir: Client) -> None:
    place = await made(fhir)
    assert (await patch(fhir, place, RENAME, headers={"if-match": 'W/"2"'})).status_code == 412
    assert (await patch(fhir, place, RENAME, headers={"if-match": 'W/"1"'})).status_code == 200


async def test_a_conditional_patch_is_of_the_one_that_is_found(fhir: Client) -> None:
    place = await made(fhir)
    found = await patch(fhir, "/Patient?identifier=http://ids.example|1", RENAME)
    assert (found.status_code, f"/Patient/{found.json()['id']}") == (200, place)
    assert (await patch(fhir, "/Patient?identifier=2", RENAME)).status_code == 404
    assert (await patch(fhir, "/Patient", RENAME)).status_code == 400
    await made(fhir)
    assert (await patch(fhir, "/Patient?identifier=1", RENAME)).status_code == 412


async def test_patches_that_meet_lose_nothing(fhir: Client) -> None:
    place = await made(fhir)
    add = [{"op": "add", "path": "/name/-", "value": {"family": "More"}}]
    half = [patch(fhir, place, add) for _ in range(15)]
    answers = await asyncio.gather(*half, *(patch(fhir, "/Patient?identifier=1", add) for _ in range(3)))
    assert Counter(a.status_code for a in answers)[200] >= 15
    done = sum(a.status_code == 200 for a in answers)
    assert len((await fhir.get(place)).json()["name"]) == 1 + done
    assert {a.status_code for a in answers} <= {200, 503}


def in_bundle(place: str, body: Any, kind: str = JSON_PATCH) -> dict[str, Any]:
    data = base64.b64encode(json.dumps(body).encode()).decode()
    binary = {"resourceType": "Binary", "contentType": kind, "data": data}
    return {"resource": binary, "request": {"method": "PATCH", "url": place.lstrip("/")}}


@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_a_bundle_patches_by_a_binary(fhir: Client, kind: str) -> None:
    one, two = await made(fhir), await made(fhir, PATIENT | {"identifier": [{"value": "2"}]})
    entries = [in_bundle(one, RENAME), in_bundle("Patient?identifier=2", {"active": True}, MERGE_PATCH)]
    answer = await fhir.post("", json={"resourceType": "Bundle", "type": kind, "entry": entries})
    assert answer.status_code == 200, answer.text
    assert [e["response"]["status"] for e in answer.json()["entry"]] == ["200", "200"], answer.text
    assert (await fhir.get(one)).json()["name"][0]["family"] == "New"
    assert (await fhir.get(two)).json()["active"] is True


async def test_a_patch_that_fails_undoes_its_transaction(fhir: Client) -> None:
    one, two = await made(fhir), await made(fhir)
    failing = in_bundle(two, [{"op": "test", "path": "/active", "value": True}])
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [in_bundle(one, RENAME), failing]}
    answer = await fhir.post("", json=bundle)
    assert answer.status_code == 422
    assert answer.json()["issue"][0]["expression"] == ["Bundle.entry[1].resource"]
    assert (await fhir.get(one)).headers["etag"] == 'W/"1"'
    twice = {"resourceType": "Bundle", "type": "transaction", "entry": [in_bundle(one, RENAME)] * 2}
    assert (await fhir.post("", json=twice)).status_code == 400


async def test_a_patch_needs_the_right_to_what_was_and_to_what_becomes(fhir: Client, other: Client) -> None:
    mine, theirs = await made(fhir), await made(fhir)
    result = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
    own = await made(fhir, result | {"subject": {"reference": mine[1:]}})
    foreign = await made(fhir, result | {"subject": {"reference": theirs[1:]}})
    token = await fhir.token("patient/*.cruds", patient=mine.rpartition("/")[2])
    amend = {"status": "amended"}
    assert (await patch(fhir, own, amend, MERGE_PATCH, token=token)).status_code == 200
    assert (await patch(fhir, foreign, amend, MERGE_PATCH, token=token)).status_code == 404
    moved = {"subject": {"reference": theirs[1:]}}
    assert (await patch(fhir, own, moved, MERGE_PATCH, token=token)).status_code == 403
    stolen = {"subject": {"reference": mine[1:]}}
    assert (await patch(fhir, foreign, stolen, MERGE_PATCH, token=token)).status_code == 404
    reader = await fhir.token("system/*.rs")
    assert (await patch(fhir, own, amend, MERGE_PATCH, token=reader)).status_code == 403
    assert (await patch(other, own, amend, MERGE_PATCH)).status_code == 404


def parameters(kind: str, path: str, **value: Any) -> dict[str, Any]:
    part = [{"name": "type", "valueCode": kind}, {"name": "path", "valueString": path}]
    if value:
        part.append({"name": "value", **value})
    return {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": part}]}


async def test_a_fhirpath_patch_alone_and_in_a_bundle(fhir: Client) -> None:
    place = await made(fhir)
    rename = parameters("replace", "Patient.name[0].family", valueString="New")
    answer = await patch(fhir, place, rename, "application/fhir+json")
    assert (answer.status_code, answer.json()["name"]) == (200, [{"family": "New"}]), answer.text
    again = {
        "resource": parameters("delete", "Patient.identifier[0].system"),
        "request": {"method": "PATCH", "url": place.lstrip("/")},
    }
    answer = await fhir.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": [again]})
    assert answer.status_code == 200, answer.text
    assert (await fhir.get(place)).json()["identifier"] == [{"value": "1"}]
    assert (await fhir.get("/Patient?identifier=http://ids.example|1&_summary=count")).json()["total"] == 0


async def test_a_fhirpath_patch_that_cannot_be_done_is_422_and_a_wrong_one_400(fhir: Client) -> None:
    place = await made(fhir)
    kind = "application/fhir+json"
    missing = parameters("replace", "Patient.gender", valueCode="male")
    assert (await patch(fhir, place, missing, kind)).status_code == 422
    invalid = parameters("replace", "Patient.name[0].family", valueInteger=1)
    assert (await patch(fhir, place, invalid, kind)).status_code == 400
    assert (await patch(fhir, place, {"resourceType": "Patient"}, kind)).status_code == 400
    assert (await patch(fhir, place, parameters("spin", "Patient"), kind)).status_code == 400
    assert (await fhir.get(place)).headers["etag"] == 'W/"1"'
