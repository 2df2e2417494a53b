"""$meta, $meta-add and $meta-delete. http://hl7.org/fhir/R4/resource-operation-meta.html"""

from __future__ import annotations

from typing import Any

from tests.fhir import Client

TAG = {"system": "http://t", "code": "a"}
OTHER = {"system": "http://t", "code": "b"}


def asked(**meta: Any) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": meta}]}


async def made(fhir: Client) -> str:
    answer = await fhir.post("/Patient", json={"resourceType": "Patient", "meta": {"tag": [TAG]}})
    return f"/Patient/{answer.json()['id']}"


def told(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["parameter"][0]["valueMeta"]


async def test_meta_is_told_added_to_and_taken_from(fhir: Client) -> None:
    place = await made(fhir)
    assert told(await fhir.get(f"{place}/$meta"))["tag"] == [TAG]
    assert told(await fhir.post(f"{place}/$meta", json={"resourceType": "Parameters"}))["tag"] == [TAG]
    added = told(await fhir.post(f"{place}/$meta-add", json=asked(tag=[TAG, OTHER], profile=["http://p"])))
    assert (added["tag"], added["profile"], added["versionId"]) == ([TAG, OTHER], ["http://p"], "2")
    assert (await fhir.get("/Patient?_tag=http://t|b&_summary=count")).json()["total"] == 1
    left = told(await fhir.post(f"{place}/$meta-delete", json=asked(tag=[TAG], profile=["http://p", "http://q"])))
    assert (left["tag"], "profile" in left) == ([OTHER], False)
    assert (await fhir.get(place)).json()["meta"] == left


async def test_what_changes_nothing_keeps_the_version(fhir: Client) -> None:
    place = await made(fhir)
    assert told(await fhir.post(f"{place}/$meta-add", json=asked(tag=[TAG])))["versionId"] == "1"
    assert told(await fhir.post(f"{place}/$meta-delete", json=asked(tag=[OTHER])))["versionId"] == "1"


async def test_what_is_no_meta_is_refused(fhir: Client) -> None:
    place = await made(fhir)
    for body in ({"resourceType": "Parameters"}, {"resourceType": "Patient"}, asked(tag="x")):
        assert (await fhir.post(f"{place}/$meta-add", json=body)).status_code == 400
    assert (await fhir.post("/Patient/none/$meta-add", json=asked(tag=[TAG]))).status_code == 404
    assert (await fhir.get("/Patient/none/$meta")).status_code == 404
    assert (await fhir.get(f"{place}/$nonsense")).status_code == 404
    assert (await fhir.get(f"{place}/$meta-add")).status_code == 405


async def test_meta_is_of_what_the_token_may_see_and_write(fhir: Client, other: Client) -> None:
    mine, theirs = await made(fhir), await made(fhir)
    token = await fhir.token("patient/*.cruds", patient=mine.rpartition("/")[2])
    assert told(await fhir.get(f"{mine}/$meta", token=token))
    for name, method in (("$meta", "GET"), ("$meta-add", "POST"), ("$meta-delete", "POST")):
        body = {"json": asked(tag=[TAG])} if method == "POST" else {}
        assert (await fhir.request(method, f"{theirs}/{name}", token=token, **body)).status_code == 404
        assert (await other.request(method, f"{mine}/{name}", **body)).status_code == 404
    reader = await fhir.token("system/*.rs")
    assert (await fhir.post(f"{mine}/$meta-add", json=asked(tag=[OTHER]), token=reader)).status_code == 403


async def test_the_operations_stand_in_metadata(fhir: Client) -> None:
    statement = (await fhir.get("/metadata")).json()
    written = [resource for resource in statement["rest"][0]["resource"] if resource["type"] != "AuditEvent"]
    for resource in written:
        assert {o["name"] for o in resource["operation"]} >= {"meta", "meta-add", "meta-delete"}


async def test_what_is_in_use_is_told_by_type_and_for_all(fhir: Client, other: Client) -> None:
    place = await made(fhir)
    await made(fhir)
    await fhir.post("/Basic", json={"resourceType": "Basic", "code": {"text": "x"}, "meta": {"profile": ["http://p"]}})
    await fhir.post("/Patient", json={"resourceType": "Patient", "meta": {"security": [OTHER]}})
    assert told(await fhir.get("/Patient/$meta")) == {"tag": [TAG], "security": [OTHER]}
    assert told(await fhir.get("/$meta")) == {"tag": [TAG], "security": [OTHER], "profile": ["http://p"]}
    assert "valueMeta" not in (await other.get("/$meta")).json()["parameter"][0]
    own = await fhir.token("patient/*.rs", patient=place.rpartition("/")[2])
    assert told(await fhir.get("/$meta", token=own)) == {"tag": [TAG]}
    basic = await fhir.token("system/Basic.rs")
    assert told(await fhir.get("/$meta", token=basic)) == {"profile": ["http://p"]}
    assert (await fhir.get("/Patient/$meta", token=basic)).status_code == 403
    assert (await fhir.get("/$meta?x=1")).status_code == 400
    nothing = {"resourceType": "Parameters"}
    assert told(await fhir.post("/$meta", json=nothing)) == told(await fhir.get("/$meta"))
    assert told(await fhir.post("/Patient/$meta", json=nothing)) == told(await fhir.get("/Patient/$meta"))
    assert (await fhir.get("/$nonsense")).status_code == 404
