"""What users of other servers complain of, each as a test; docs/fhir.md says where the rest of them stand."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from conformance.structures import Refused, decode
from fhir_server.store import tenants
from fhir_server.store.embedded import EmbeddedPostgres
from tests.fhir import Client, running
from tests.http.trouble import standing_still

SOURCE = "http://lab.example/feed"
IDENTIFIER = {"system": "http://ids.example", "value": "1"}


def patient(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": "same", "meta": {"source": SOURCE}, "identifier": [IDENTIFIER]} | more


async def put(at: Client, resource: dict[str, Any]) -> None:
    answer = await at.put(f"/{resource['resourceType']}/{resource['id']}", json=resource)
    assert answer.status_code in (200, 201), answer.text


async def genders(at: Client, query: str) -> list[str]:
    """Return the gender of each patient that a search shows, which tells whose they are."""
    answer = await at.get(query)
    assert answer.status_code == 200, answer.text
    return [entry["resource"]["gender"] for entry in answer.json().get("entry", [])]


# ---- tenants leak ------------------------------------------------------------------------------------------------


async def test_one_id_in_two_tenants_names_two_resources_that_know_nothing_of_each_other(
    fhir: Client, other: Client
) -> None:
    await put(fhir, patient(gender="female"))
    assert (await other.get("/Patient/same")).status_code == 404
    assert (await other.get("/Patient/same/_history/1")).status_code == 404
    await put(other, patient(gender="male"))
    assert (await other.get("/Patient/same")).json()["meta"]["versionId"] == "1", "the id was new here"
    assert (await fhir.get("/Patient/same")).json()["gender"] == "female"
    assert (await other.delete("/Patient/same")).status_code == 204
    assert (await fhir.get("/Patient/same")).status_code == 200
    assert (await fhir.get("/Patient/same/_history")).json()["total"] == 1


@pytest.mark.parametrize(
    "query",
    [
        f"_source={SOURCE}",
        "_source:below=http://lab.example",
        "_id=same",
        "identifier=http://ids.example|1",
        "name:missing=true",
        "_lastUpdated=ge2000",
        "gender:not=other",
    ],
)
async def test_no_parameter_finds_what_another_tenant_has(fhir: Client, other: Client, query: str) -> None:
    await put(fhir, patient(gender="female"))
    assert await genders(fhir, f"/Patient?{query}") == ["female"]
    answer = await other.get(f"/Patient?{query}&_total=accurate")
    assert (answer.status_code, answer.json()["total"], "female" in answer.text) == (200, 0, False)


async def test_one_search_of_two_tenants_and_of_two_tokens_in_turn_is_never_answered_from_memory(
    fhir: Client, other: Client
) -> None:
    await put(fhir, patient(gender="female"))
    await put(other, patient(gender="male"))
    narrow = await fhir.token("patient/*.rs", patient="nobody")
    for _ in range(8):
        shown = await asyncio.gather(genders(fhir, "/Patient?_id=same"), genders(other, "/Patient?_id=same"))
        assert shown == [["female"], ["male"]]
        assert "entry" not in (await fhir.get("/Patient?_id=same", token=narrow)).json()
        read = await asyncio.gather(fhir.get("/Patient/same"), other.get("/Patient/same"))
        assert [answer.json()["gender"] for answer in read] == ["female", "male"]
    await put(fhir, patient(gender="other"))
    assert await genders(fhir, "/Patient?_id=same") == ["other"], "a search sees what was just written"


META = {
    "_tag=http://t.example|mine": True,
    "_tag=http://t.example|": True,
    "_tag=theirs": False,
    "_security=http://s.example|R": True,
    "_security=|R": False,
    "_profile=http://p.example/profile": True,
    "_profile:below=http://p.example": True,
    "_profile=http://p.example": False,
    "_source=http://lab.example/feed": True,
    "_source=http://lab.example": False,
}


@pytest.mark.parametrize("query", META)
async def test_tags_profiles_and_labels_are_searched(fhir: Client, query: str) -> None:
    meta = {
        "source": SOURCE,
        "profile": ["http://p.example/profile"],
        "tag": [{"system": "http://t.example", "code": "mine"}],
        "security": [{"system": "http://s.example", "code": "R"}],
    }
    await put(fhir, patient(gender="female", meta=meta))
    assert bool(await genders(fhir, f"/Patient?{query}")) == META[query]
    assert bool(await genders(fhir, f"?_type=Patient&{query}")) == META[query]


# ---- writers meet ------------------------------------------------------------------------------------------------


async def test_transactions_that_update_the_same_rows_in_opposite_order_all_end(fhir: Client) -> None:
    names = [f"p{n}" for n in range(10)]

    async def one(turn: int) -> int:
        order = names if turn % 2 else names[::-1]
        entries = [
            {
                "resource": {"resourceType": "Patient", "id": name, "multipleBirthInteger": turn + 1},
                "request": {"method": "PUT", "url": f"Patient/{name}"},
            }
            for name in order
        ]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        return (await fhir.post("", json=bundle)).status_code

    assert Counter(await asyncio.gather(*map(one, range(30)))) == {200: 30}
    read = [(await fhir.get(f"/Patient/{name}")).json() for name in names]
    assert {resource["meta"]["versionId"] for resource in read} == {"30"}
    assert len({resource["multipleBirthInteger"] for resource in read}) == 1, "the last one wrote all of them"


# ---- a database that takes too long ------------------------------------------------------------------------------


Ask = Callable[[Client], Any]
ASKED: dict[str, Ask] = {
    "read": lambda at: at.get("/Patient/p"),
    "search": lambda at: at.get("/Patient?identifier=7"),
    "count": lambda at: at.get("/Patient?_summary=count"),
    "history": lambda at: at.get("/Patient/_history"),
    "create": lambda at: at.post("/Patient", json={"resourceType": "Patient"}),
    "transaction": lambda at: at.post(
        "",
        json={
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [{"resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"}}],
        },
    ),
}


async def test_what_takes_the_database_too_long_is_503_with_the_reason_and_never_500(
    postgres: EmbeddedPostgres, fresh_name: str
) -> None:
    dsn = postgres.server_dsn(fresh_name)
    async with running(dsn, statement_timeout=1) as (concord, clock), httpx.AsyncClient(timeout=60) as http:
        at = Client(concord, clock, await tenants.add(concord.db, f"t-{uuid.uuid4().hex[:12]}"), http)
        await put(at, {"resourceType": "Patient", "id": "p"})
        async with standing_still(postgres.admin_dsn(fresh_name)):
            late = dict(zip(ASKED, await asyncio.gather(*(ask(at) for ask in ASKED.values())), strict=True))
        assert {name: answer.status_code for name, answer in late.items()} == dict.fromkeys(ASKED, 503)
        for answer in late.values():
            assert "retry-after" in answer.headers
            assert answer.json()["resourceType"] == "OperationOutcome"
            assert "select" not in answer.text
        assert {(await ask(at)).status_code for ask in ASKED.values()} == {200, 201}


# ---- memory ------------------------------------------------------------------------------------------------------


def questionnaire(items: int, **more: Any) -> bytes:
    item = [{"linkId": str(n), "type": "string", "text": "a question"} | more for n in range(items)]
    return json.dumps({"resourceType": "Questionnaire", "status": "draft", "item": item}).encode()


def test_validation_leaves_no_memory_behind_and_takes_no_more_than_in_proportion() -> None:
    good, bad = questionnaire(300), questionnaire(300, type="nonsense")
    decode("Questionnaire", good)
    tracemalloc.start()
    try:
        peaks = []
        for body in (questionnaire(200), questionnaire(2000)):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            decode("Questionnaire", body)
            peaks.append((tracemalloc.get_traced_memory()[1] - before) / len(body))
        assert peaks[1] < 2 * peaks[0], "bytes of memory for a byte of body"
        kept = []
        for rounds in (10, 20):
            for _ in range(rounds):
                decode("Questionnaire", good)
                with pytest.raises(Refused):
                    decode("Questionnaire", bad)
            gc.collect()
            kept.append(tracemalloc.get_traced_memory()[0])
        assert kept[1] - kept[0] < len(good), "twenty more rounds kept less than one body"
    finally:
        tracemalloc.stop()
