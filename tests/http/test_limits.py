"""Every limit is a setting, and who goes over it is told so: a client's fault or a busy server, never a fault."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fhir_server.http.bounds import deeper
from tests.fhir import Client
from tests.http.trouble import served, standing_still, told

SMALL = {
    "max_url_bytes": 1024,
    "max_form_bytes": 1024,
    "max_json_depth": 8,
    "max_bundle_entries": 3,
    "max_locks": 5,
    "default_page_size": 2,
    "max_page_size": 3,
    "max_parameters": 6,
    "max_filters": 3,
    "max_search_values": 5,
    "max_includes": 2,
    "max_chain_links": 4,
    "max_chain_types": 3,
}
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def small(server_dsn: str) -> AsyncIterator[Client]:
    async with served(server_dsn, **SMALL) as client:
        yield client


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ([("name", "a")] * 7, "7 parameters in one search; this server takes 6"),
        ([("name", "a")] * 4, "more than 3 parameters that filter"),
        ([("name", "a,b,c,d,e,f")], "more than 5 values"),
        ([("_id", "1,2,3"), ("name", "a,b,c")], "more than 5 values"),
        ([("_include", "Patient:organization")] * 3, "more than 2 includes"),
        ([("_has:Observation:subject:performer.name", "a")], "performer may lead to any type: name one"),
        ([("organization.partof.partof.partof.partof.name", "a")], "more than 4 links"),
        ([("organization.partof.partof.name", "a"), ("organization.partof.name", "b")], "more than 4 links"),
    ],
)
async def test_a_search_that_asks_for_too_much_is_400(small: Client, query: list[tuple[str, str]], words: str) -> None:
    issue = told(await small.get("/Patient", params=query), 400)
    assert words in issue["diagnostics"]
    assert issue["expression"][0].startswith("http")


async def test_a_link_to_too_many_types_is_400_and_a_typed_one_is_followed(small: Client) -> None:
    issue = told(await small.get("/Observation?subject.identifier=a"), 400)
    assert "name one" in issue["diagnostics"]
    assert (await small.get("/Observation?subject:Patient.identifier=a")).status_code == 200


async def test_within_its_limits_a_search_is_answered(small: Client) -> None:
    query = [("name", "a")] * 2 + [("_id", "1,2,3"), ("_include", "Patient:organization"), ("_count", "1")]
    assert (await small.get("/Patient", params=query)).status_code == 200


async def test_an_address_that_is_too_long_is_414(small: Client) -> None:
    assert told(await small.get("/Patient?name=" + "a" * 1024), 414)["code"] == "too-long"
    assert told(await small.get("/Patient/" + "a" * 1024), 414)["code"] == "too-long"


async def test_a_form_that_is_too_long_is_413(small: Client) -> None:
    answer = await small.post("/Patient/_search", content="name=" + "a" * 1024, headers=FORM)
    assert told(answer, 413)["code"] == "too-long"


def nested(levels: int) -> dict[str, Any]:
    """Return a Patient that is so many levels deep."""
    inner: dict[str, Any] = {"url": "http://x", "valueString": "x"}
    for _ in range((levels - 3) // 2):
        inner = {"url": "http://x", "extension": [inner]}
    return {"resourceType": "Patient", "extension": [inner]}


async def test_a_body_that_is_too_deep_is_413_wherever_it_is_read(small: Client) -> None:
    assert (await small.post("/Patient", json=nested(7))).status_code == 201
    assert told(await small.post("/Patient", json=nested(9)), 413)["code"] == "too-long"
    patch = '[{"op":"add","path":"/name","value":' + "[" * 8 + "]" * 8 + "}]"
    answer = await small.request(
        "PATCH", "/Patient/1", content=patch, headers={"content-type": "application/json-patch+json"}
    )
    assert told(answer, 413)["code"] == "too-long"
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": nested(7)}]}
    assert told(await small.post("", json=bundle), 413)["code"] == "too-long"


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ('{"a":"[[[[[[[[[["}', 1),
        (r'{"a":"\"[[[[[[[[\\"}', 1),
        (r'["\\",["\\\"]]]]]",[[]]]]', 4),
        ('[{"a":[{}]}]', 4),
        ("[[],[],[[]],{}]", 3),
        ('"[["', 0),
        ("", 0),
        ("[" * 40, 40),
        ("[]" * 40, 1),
        ("[{]}" * 40, 2),
    ],
)
def test_depth_counts_brackets_outside_of_strings(text: str, levels: int) -> None:
    assert not deeper(text.encode(), max(levels, 1))
    assert levels < 2 or deeper(text.encode(), levels - 1)


async def test_a_bundle_of_too_many_entries_is_413(small: Client) -> None:
    entries = [{"request": {"method": "GET", "url": "Patient"}}] * 4
    for kind in ("batch", "transaction"):
        answer = await small.post("", json={"resourceType": "Bundle", "type": kind, "entry": entries})
        assert told(answer, 413)["code"] == "too-long"


@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_reads_of_a_bundle_are_413_once_its_answers_are_too_large(server_dsn: str, kind: str) -> None:
    async with served(server_dsn, max_bundle_answer_bytes=3000) as client:
        await client.put("/Patient/a", json={"resourceType": "Patient", "id": "a", "name": [{"family": "x" * 1000}]})
        basic = {"resourceType": "Basic", "code": {"text": "a"}}
        read = [{"request": {"method": "GET", "url": "Patient/a"}}] * 20
        entries = [*read, {"resource": basic, "request": {"method": "POST", "url": "Basic"}}]
        answer = await client.post("", json={"resourceType": "Bundle", "type": kind, "entry": entries})
        statuses = [entry["response"]["status"][:3] for entry in answer.json()["entry"]]
        assert statuses == ["200"] * 3 + ["413"] * 17 + ["201"]
        assert len(answer.content) < 10_000


async def test_a_write_of_too_many_identifiers_is_413(small: Client) -> None:
    identifiers = [{"system": "http://s", "value": str(n)} for n in range(6)]
    assert told(await small.post("/Patient", json={"resourceType": "Patient", "identifier": identifiers}), 413)
    made = await small.post("/Patient", json={"resourceType": "Patient", "identifier": identifiers[:5]})
    assert made.status_code == 201
    patch = [{"op": "add", "path": "/identifier/-", "value": {"value": "6"}}]
    headers = {"content-type": "application/json-patch+json"}
    place = f"/Patient/{made.json()['id']}"
    assert told(await small.request("PATCH", place, content=json.dumps(patch), headers=headers), 413)


async def test_a_page_is_as_large_as_it_may_be_and_says_so(small: Client) -> None:
    for _ in range(4):
        await small.post("/Patient", json={"resourceType": "Patient"})
    whole = (await small.get("/Patient?_count=500")).json()
    assert len(whole["entry"]) == 3
    assert "_count=3" in whole["link"][0]["url"]
    assert len((await small.get("/Patient")).json()["entry"]) == 2
    assert len((await small.get("/Patient/_history?_count=500")).json()["entry"]) == 3


# ---- time ---------------------------------------------------------------------------------------------------------


QUERIES = (
    "/Patient",
    "/Patient?_summary=count",
    "/Patient?_total=accurate",
    "/Patient/1",
    "/Patient?organization.name=a",
)


async def test_a_statement_over_its_time_is_503_with_the_code_timeout(server_dsn: str, admin_dsn: str) -> None:
    # Long enough for all that is not held up, also on a busy machine.
    async with served(server_dsn, statement_timeout=1) as client:
        await client.get("/Patient")
        async with standing_still(admin_dsn):
            written = client.post("/Patient", json={"resourceType": "Patient"})
            for answer in await asyncio.gather(written, *(client.get(query) for query in QUERIES)):
                assert told(answer, 503)["code"] == "timeout", answer.request.url
                assert int(answer.headers["retry-after"]) > 0
        assert (await client.get("/Patient?_total=accurate")).json()["total"] == 0


async def test_a_write_that_waits_too_long_for_another_is_503(server_dsn: str) -> None:
    async with served(server_dsn, lock_timeout=0.05) as client:
        await client.put("/Patient/held", json={"resourceType": "Patient", "id": "held"})
        async with client.concord.db.transaction(client.tenant_id) as tx:
            await tx.fetch("select 1 from resource where id = 'held' for update")
            answer = await client.put("/Patient/held", json={"resourceType": "Patient", "id": "held", "active": True})
        assert told(answer, 503)["code"] == "transient"
        assert int(answer.headers["retry-after"]) > 0


async def test_a_request_over_its_time_is_503_and_its_statement_stops(server_dsn: str, admin_dsn: str) -> None:
    async with served(server_dsn, request_timeout=1, statement_timeout=60) as client:
        await client.get("/Patient")
        async with standing_still(admin_dsn):
            answer = await client.get("/Patient")
            assert told(answer, 503)["code"] == "timeout"
        assert (await client.get("/Patient")).status_code == 200


async def test_a_body_that_does_not_come_in_time_is_503(server_dsn: str) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b'{"resourceType":'
        await asyncio.sleep(30)

    async with served(server_dsn, request_timeout=0.2) as client:
        answer = await client.post("/Patient", content=slowly(), headers={"content-type": "application/fhir+json"})
        assert told(answer, 503)["code"] == "timeout"


async def test_a_request_that_finds_no_connection_free_is_503(server_dsn: str) -> None:
    async with served(server_dsn, pool_max_size=1, pool_timeout=0.05, worker_concurrency=1) as client:
        await client.get("/Patient")
        db = client.concord.db
        async with db.transaction(None) as one, db.transaction(None) as two, db.transaction(None) as three:
            for tx in (one, two, three):
                await tx.fetch("select 1")
            answer = await client.get("/Patient")
            assert told(answer, 503)["code"] == "transient"
            assert int(answer.headers["retry-after"]) > 0
        assert (await client.get("/Patient")).status_code == 200
