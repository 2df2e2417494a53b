"""create, read, vread, update, delete and instance history as a client sees them.

http://hl7.org/fhir/R4/http.html
"""

from __future__ import annotations

import asyncio
import uuid

import httpx

from tests.fhir import Client

PATIENT = {"resourceType": "Patient", "name": [{"family": "Ångström", "given": ["Eva"]}], "birthDate": "1970-03-30"}


async def test_create_answers_201_with_location_etag_and_last_modified(fhir: Client) -> None:
    answer = await fhir.post("/Patient", json=PATIENT)
    assert answer.status_code == 201
    body = answer.json()
    assert answer.headers["location"] == f"{fhir.base}/Patient/{body['id']}/_history/1"
    assert answer.headers["etag"] == 'W/"1"'
    assert "last-modified" in answer.headers
    assert body["meta"]["versionId"] == "1"


async def test_create_ignores_the_id_and_server_set_meta_of_the_body(fhir: Client) -> None:
    sent = PATIENT | {
        "id": "mine",
        "meta": {
            "versionId": "77",
            "lastUpdated": "1999-01-01T00:00:00Z",
            "tag": [{"system": "http://t", "code": "kept"}],
        },
    }
    body = (await fhir.post("/Patient", json=sent)).json()
    assert body["id"] != "mine"
    assert body["meta"]["versionId"] == "1"
    assert not body["meta"]["lastUpdated"].startswith("1999")
    assert body["meta"]["tag"] == [{"system": "http://t", "code": "kept"}]


async def test_read_returns_what_was_created_and_head_only_its_headers(fhir: Client) -> None:
    made = (await fhir.post("/Patient", json=PATIENT)).json()
    answer = await fhir.get(f"/Patient/{made['id']}")
    assert answer.status_code == 200
    assert answer.json() == made
    assert answer.headers["content-type"].startswith("application/fhir+json")
    head = await fhir.request("HEAD", f"/Patient/{made['id']}")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", 'W/"1"')


async def test_decimals_keep_their_digits(fhir: Client) -> None:
    text = '{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.500}}'
    made = await fhir.post("/Observation", content=text, headers={"content-type": "application/fhir+json"})
    read = await fhir.get(f"/Observation/{made.json()['id']}")
    assert '"value":1.500' in read.text


async def test_update_makes_a_new_version_and_the_old_one_stays_readable(fhir: Client) -> None:
    made = (await fhir.post("/Patient", json=PATIENT)).json()
    changed = await fhir.put(f"/Patient/{made['id']}", json=PATIENT | {"id": made["id"], "gender": "female"})
    assert (changed.status_code, changed.headers["etag"]) == (200, 'W/"2"')
    assert (await fhir.get(f"/Patient/{made['id']}/_history/1")).json() == made
    assert (await fhir.get(f"/Patient/{made['id']}/_history/2")).json()["gender"] == "female"
    assert (await fhir.get(f"/Patient/{made['id']}/_history/3")).status_code == 404


async def test_an_update_that_changes_nothing_keeps_the_version(fhir: Client) -> None:
    made = (await fhir.post("/Patient", json=PATIENT)).json()
    again = await fhir.put(f"/Patient/{made['id']}", json=made)
    assert (again.status_code, again.headers["etag"]) == (200, 'W/"1"')


async def test_update_with_a_new_id_creates_the_resource_under_it(fhir: Client) -> None:
    answer = await fhir.put("/Patient/chosen-1", json=PATIENT | {"id": "chosen-1"})
    assert answer.status_code == 201
    assert (await fhir.get("/Patient/chosen-1")).json()["id"] == "chosen-1"


async def test_update_refuses_an_id_that_differs_from_the_address(fhir: Client) -> None:
    answer = await fhir.put("/Patient/a", json=PATIENT | {"id": "b"})
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == ["Patient.id"]
    assert (await fhir.put("/Patient/a", json=PATIENT)).status_code == 400
    assert (await fhir.put("/Patient/" + "x" * 65, json=PATIENT | {"id": "x" * 65})).status_code == 400


async def test_if_match_of_another_version_is_412_and_changes_nothing(fhir: Client) -> None:
    made = (await fhir.post("/Patient", json=PATIENT)).json()
    changed = PATIENT | {"id": made["id"], "active": False}
    refused = await fhir.put(f"/Patient/{made['id']}", json=changed, headers={"if-match": 'W/"7"'})
    assert refused.status_code == 412
    assert "version 1" in refused.json()["issue"][0]["diagnostics"]
    taken = await fhir.put(f"/Patient/{made['id']}", json=changed, headers={"if-match": 'W/"1"'})
    assert taken.status_code == 200
    assert (
        await fhir.put("/Patient/none", json=PATIENT | {"id": "none"}, headers={"if-match": 'W/"1"'})
    ).status_code == 412


async def test_delete_is_idempotent_then_410_and_an_update_restores(fhir: Client) -> None:
    made = (await fhir.post("/Patient", json=PATIENT)).json()
    address = f"/Patient/{made['id']}"
    assert (await fhir.delete(address)).status_code == 204
    assert (await fhir.delete(address)).status_code == 204
    gone = await fhir.get(address)
    assert gone.status_code == 410
    assert gone.json()["issue"][0]["code"] == "deleted"
    assert (await fhir.get(f"{address}/_history/2")).status_code == 410
    assert (await fhir.put(address, json=PATIENT | {"id": made["id"]})).status_code == 201
    assert (await fhir.get(address)).json()["meta"]["versionId"] == "3"
    assert (await fhir.delete("/Patient/never-was")).status_code == 204


async def test_history_lists_versions_newest_first_deletions_included_and_pages(fhir: Client) -> None:
    made = (await fhir.post("/Patient", json=PATIENT)).json()
    address = f"/Patient/{made['id']}"
    await fhir.put(address, json=PATIENT | {"id": made["id"], "gender": "female"})
    await fhir.delete(address)
    bundle = (await fhir.get(f"{address}/_history")).json()
    assert (bundle["type"], bundle["total"]) == ("history", 3)
    assert [e["request"]["method"] for e in bundle["entry"]] == ["DELETE", "PUT", "POST"]
    assert "resource" not in bundle["entry"][0]
    seen, url = [], f"{address}/_history?_count=2"
    while url:
        page = (await fhir.get(url)).json()
        seen += [e["response"]["etag"] for e in page.get("entry", [])]
        url = next((k["url"].removeprefix(fhir.base) for k in page["link"] if k["relation"] == "next"), "")
    assert seen == ['W/"3"', 'W/"2"', 'W/"1"']


async def test_prefer_return_chooses_nothing_the_resource_or_an_outcome(fhir: Client) -> None:
    minimal = await fhir.post("/Patient", json=PATIENT, headers={"prefer": "return=minimal"})
    assert (minimal.status_code, minimal.content) == (201, b"")
    outcome = await fhir.post("/Patient", json=PATIENT, headers={"prefer": "return=OperationOutcome"})
    assert outcome.json()["resourceType"] == "OperationOutcome"


async def test_every_problem_of_a_bad_resource_is_told_with_its_path(fhir: Client) -> None:
    bad = {"resourceType": "Patient", "gender": "unknowable", "birthDate": "1970-02-30", "nmae": []}
    answer = await fhir.post("/Patient", json=bad)
    assert answer.status_code == 400
    told = {e for issue in answer.json()["issue"] for e in issue.get("expression", [])}
    assert {"Patient.gender", "Patient.birthDate"} <= told
    assert any("nmae" in issue["diagnostics"] for issue in answer.json()["issue"])


async def test_what_is_not_there_is_404_and_says_what(fhir: Client) -> None:
    for path in ("/Patient/none", "/Patient/none/_history", "/Patient/none/_history/1", "/Nonsense/1", "/Patient/a/b"):
        answer = await fhir.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["resourceType"] == "OperationOutcome"
    refused = await fhir.request("PATCH", "/Patient/a/_history")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    refused = await fhir.post("/Patient/a", json=PATIENT)
    assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE, GET, PATCH, PUT, HEAD")


async def test_a_body_that_is_no_json_or_of_another_type_is_refused(fhir: Client) -> None:
    for content in (
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"resourceType":"Observation"}',
        b'{"resourceType":"Patient","a":1}',
    ):
        answer = await fhir.post("/Patient", content=content, headers={"content-type": "application/fhir+json"})
        assert answer.status_code == 400, content
        assert answer.json()["issue"][0]["severity"] in ("error", "fatal")
    words = await fhir.post("/Patient", content=b"a patient", headers={"content-type": "text/plain"})
    assert words.status_code == 415
    assert (await fhir.get("/Patient/x", headers={"accept": "application/pdf"})).status_code == 406


async def test_a_body_over_the_limit_is_413(fhir: Client) -> None:
    answer = await fhir.post("/Patient", content=b" " * (fhir.max_body + 1))
    assert answer.status_code == 413


async def test_writers_of_one_new_id_make_versions_and_no_error(fhir: Client) -> None:
    name = f"race-{uuid.uuid4()}"
    answers: list[httpx.Response] = await asyncio.gather(
        *(fhir.put(f"/Patient/{name}", json=PATIENT | {"id": name, "multipleBirthInteger": n}) for n in range(12))
    )
    assert sorted(a.status_code for a in answers) == [200] * 11 + [201]
    assert (await fhir.get(f"/Patient/{name}")).json()["meta"]["versionId"] == "12"


async def test_writers_with_the_same_if_match_lose_but_for_one(fhir: Client) -> None:
    made = (await fhir.post("/Patient", json=PATIENT)).json()
    answers = await asyncio.gather(
        *(
            fhir.put(
                f"/Patient/{made['id']}",
                json=PATIENT | {"id": made["id"], "multipleBirthInteger": n},
                headers={"if-match": 'W/"1"'},
            )
            for n in range(8)
        )
    )
    assert sorted(a.status_code for a in answers) == [200] + [412] * 7


async def test_pretty_is_indented_and_still_exact(fhir: Client) -> None:
    made = (await fhir.post("/Patient", json=PATIENT)).json()
    pretty = await fhir.get(f"/Patient/{made['id']}?_pretty=true")
    assert pretty.text.startswith('{\n  "resourceType"')
    assert pretty.json() == made
