"""Answers, and a batch, as lines of one resource each. https://hl7.org/fhir/R4/nd-json.html"""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.fhir import Client

LINES = "application/fhir+ndjson"


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    """Return the resources of an answer in ndjson."""
    assert answer.headers["content-type"] == "application/fhir+ndjson; charset=utf-8", answer.text
    assert answer.text.endswith("\n") or not answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def put(fhir: Client, name: str, **more: Any) -> None:
    """Store a patient written over several lines."""
    body = json.dumps({"resourceType": "Patient", "id": name, "name": [{"text": name}]} | more, indent=2)
    answer = await fhir.put(f"/Patient/{name}", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 201


async def test_a_search_answers_a_line_for_each_resource_and_links_its_pages(fhir: Client) -> None:
    for name in ("a", "b", "c"):
        await put(fhir, name)
    seen: list[str] = []
    path = "/Patient?_count=2&_sort=_lastUpdated&_format=ndjson&_total=accurate"
    while path:
        answer = await fhir.get(path)
        assert answer.headers["x-total-count"] == "3"
        seen += [one["id"] for one in lines(answer)]
        assert answer.links["self"]["url"].startswith(fhir.base)
        path = answer.links.get("next", {}).get("url", "").removeprefix(fhir.base)
    assert seen == ["a", "b", "c"]


async def test_a_search_that_finds_nothing_has_no_lines(fhir: Client) -> None:
    answer = await fhir.get("/Patient?name=nobody", headers={"accept": LINES})
    assert answer.status_code == 200
    assert lines(answer) == []


async def test_one_resource_is_one_line_a_stored_bundle_too(fhir: Client) -> None:
    await put(fhir, "a")
    assert lines(await fhir.get("/Patient/a", headers={"accept": LINES}))[0]["id"] == "a"
    kept = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": {"resourceType": "Basic", "id": "x"}}],
    }
    kept["entry"][0]["resource"]["code"] = {"text": "c"}
    made = (await fhir.post("/Bundle", json=kept)).json()
    (read,) = lines(await fhir.get(f"/Bundle/{made['id']}", headers={"accept": LINES}))
    assert read == made


async def test_what_has_no_resource_is_told_by_an_outcome_in_its_place(fhir: Client) -> None:
    await put(fhir, "a")
    await fhir.delete("/Patient/a")
    gone, was = lines(await fhir.get("/Patient/a/_history", headers={"accept": LINES}))
    assert "DELETE Patient/a" in gone["issue"][0]["diagnostics"]
    assert was["id"] == "a"


async def test_a_failure_is_a_line_as_well(fhir: Client) -> None:
    answer = await fhir.get("/Patient/none", headers={"accept": LINES})
    assert answer.status_code == 404
    assert lines(answer)[0]["resourceType"] == "OperationOutcome"


async def test_lines_posted_to_the_base_are_a_batch(fhir: Client) -> None:
    body = b"\n".join(
        [
            b'{"resourceType":"Patient","id":"p","multipleBirthInteger":2}',
            b'{"resourceType":"Patient","active":true}\r',
            b"",
            b'{"resourceType":"Patient","nickname":"x"}',
            b'{"resourceType":"Nonsense"}',
        ]
    ).replace(b'{"resourceType":"Nonsense"}', b'{"resourceType":"Parameters","id":"x"}')
    answer = await fhir.post("", content=body, headers={"content-type": LINES})
    assert answer.status_code == 200
    assert answer.json()["type"] == "batch-response"
    assert [e["response"]["status"] for e in answer.json()["entry"]] == ["201", "201", "400", "404"]
    assert (await fhir.get("/Patient/p")).json()["multipleBirthInteger"] == 2
    again = await fhir.post("", content=body, headers={"content-type": LINES, "accept": LINES})
    told = lines(again)
    assert [one["resourceType"] for one in told] == ["Patient", "Patient", "OperationOutcome", "OperationOutcome"]
    assert (told[0]["id"], told[0]["meta"]["versionId"]) == ("p", "1")


async def test_a_line_that_is_no_resource_is_named_and_nothing_is_done(fhir: Client) -> None:
    for wrong in (
        b"{",
        b"[]",
        b'"x"',
        b'{"id":"1"}',
        b'{"resourceType":"Nonsense"}',
        b'{"resourceType":"Patient","id":1}',
    ):
        body = b'{"resourceType":"Patient","id":"first"}\n' + wrong
        answer = await fhir.post("", content=body, headers={"content-type": LINES})
        assert answer.status_code == 400, wrong
        assert answer.json()["issue"][0]["diagnostics"].startswith("Line 2: "), wrong
    assert (await fhir.get("/Patient/first")).status_code == 404


async def test_more_lines_than_a_bundle_may_have_entries_are_413(fhir: Client) -> None:
    most = fhir.concord.settings.max_bundle_entries
    body = b'{"resourceType":"Basic"}\n' * (most + 1)
    answer = await fhir.post("", content=body, headers={"content-type": LINES})
    assert answer.status_code == 413


async def test_lines_are_held_to_the_token_and_its_tenant(fhir: Client, other: Client) -> None:
    body = b'{"resourceType":"Patient","id":"p"}\n{"resourceType":"Basic","id":"b","code":{"text":"c"}}'
    headers = {"content-type": LINES}
    token = await fhir.token("system/Patient.cu")
    answer = await fhir.post("", content=body, headers=headers, token=token)
    assert [e["response"]["status"] for e in answer.json()["entry"]] == ["201", "403"]
    assert (await fhir.post("", content=body, headers=headers, token=None)).status_code == 401
    assert (await other.get("/Patient/p")).status_code == 404


async def test_an_empty_body_of_lines_is_an_empty_batch(fhir: Client) -> None:
    answer = await fhir.post("", content=b"\n", headers={"content-type": LINES})
    assert (answer.status_code, answer.json().get("entry")) == (200, None)
