"""`_text` and `_content` over HTTP, on a real database. http://hl7.org/fhir/R4/search.html#content"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from fhir_server.app import jobs
from fhir_server.interactions.reindex import reindex
from fhir_server.store import tenants
from tests.fhir import Client

DIV = '<div xmlns="http://www.w3.org/1999/xhtml">{}</div>'


async def condition(fhir: Client, id_: str, narrative: str, note: str = "", **more: Any) -> None:
    """Store a Condition with a narrative and a note."""
    body: dict[str, Any] = {"resourceType": "Condition", "id": id_, "subject": {"reference": "Patient/p"}, **more}
    if narrative:
        body["text"] = {"status": "generated", "div": DIV.format(narrative)}
    if note:
        body["note"] = [{"text": note}]
    answer = await fhir.put(f"/Condition/{id_}", json=body)
    assert answer.status_code in (200, 201), answer.text


async def ids(fhir: Client, path: str, **params: Any) -> list[str]:
    """Return the ids that a search finds."""
    more = {"token": params.pop("token")} if "token" in params else {}
    answer = await fhir.get(path, params=params, **more)
    assert answer.status_code == 200, answer.text
    return sorted(entry["resource"]["id"] for entry in answer.json().get("entry", []))


@pytest.mark.parametrize(
    ("asked", "narrative", "content"),
    [
        ("bone", ["a", "b"], ["a", "b", "c"]),
        ("BÔNE", ["a", "b"], ["a", "b", "c"]),
        ("bone metastases", ["a"], ["a", "c"]),
        ("(bone OR liver) and metastases", ["a", "d"], ["a", "c", "d"]),
        ('"bone metastases"', [], ["c"]),
        ('"metastases in bone"', ["a"], ["a"]),
        ("bone -metastases", ["b"], ["b"]),
        ("bone not marrow", ["a"], ["a", "c"]),
        ("meta*", ["a", "d"], ["a", "c", "d"]),
        ("marrow,liver", ["b", "d"], ["b", "d"]),
        ("fracture", [], ["e"]),
        ("日本", ["d"], ["d"]),
        ("日 本", ["d"], ["d"]),
        ("本日", [], []),
        ("x-ray", ["b"], ["b"]),
        ("ray-x", [], []),
        ("nothing", [], []),
        ("div", [], []),
    ],
)
async def test_words_are_found_in_the_narrative_and_in_the_whole(
    fhir: Client, asked: str, narrative: list[str], content: list[str]
) -> None:
    await condition(fhir, "a", "Metastases in <b>bone</b>")
    await condition(fhir, "b", "Bone marrow; x-ray")
    await condition(fhir, "c", "", "bone metastases")
    await condition(fhir, "d", "Liver<br/>metastases 日本")
    await condition(fhir, "e", "", code={"coding": [{"system": "urn:s", "code": "x", "display": "Fracture"}]})
    assert await ids(fhir, "/Condition", _text=asked) == narrative
    assert await ids(fhir, "/Condition", _content=asked) == content


async def test_full_text_goes_with_other_parameters(fhir: Client) -> None:
    answer = await fhir.put("/Patient/p", json={"resourceType": "Patient", "id": "p", "name": [{"family": "Doe"}]})
    assert answer.status_code == 201
    coded = {"code": {"coding": [{"system": "urn:s", "code": "x"}]}}
    await condition(fhir, "a", "Bone pain", **coded)
    await condition(fhir, "b", "Bone pain")
    await condition(fhir, "c", "Head ache", **coded)
    assert await ids(fhir, "/Condition", _text="bone", code="x") == ["a"]
    assert await ids(fhir, "/Condition", _text="bone", _content="pain", **{"code:missing": "true"}) == ["b"]
    assert await ids(fhir, "/Condition", **{"subject:Patient._content": "doe", "code": "x"}) == ["a", "c"]
    assert await ids(fhir, "/Patient", **{"_has:Condition:subject:_text": "head"}) == ["p"]
    assert await ids(fhir, "/", _type="Patient,Condition", _content="doe or ache") == ["c", "p"]
    total = await fhir.get("/Condition?_text=pain&_summary=count")
    assert total.json()["total"] == 2
    form = await fhir.request("POST", "/Condition/_search", data={"_text": "(head or bone) ache"})
    assert [entry["resource"]["id"] for entry in form.json()["entry"]] == ["c"]


async def test_words_follow_updates_and_deletes(fhir: Client) -> None:
    await condition(fhir, "a", "Old words", "kept")
    await condition(fhir, "a", "New words", "kept")
    assert await ids(fhir, "/Condition", _text="old") == []
    assert await ids(fhir, "/Condition", _text="new") == ["a"]
    assert await ids(fhir, "/Condition", _content="kept") == ["a"]
    assert (await fhir.delete("/Condition/a")).status_code == 204
    assert await ids(fhir, "/Condition", _content="kept") == []
    await condition(fhir, "a", "Back again")
    assert await ids(fhir, "/Condition", _content="back") == ["a"]


async def test_only_what_the_token_may_see_is_found(fhir: Client, other: Client) -> None:
    await condition(fhir, "a", "Bone pain")
    await condition(fhir, "b", "Bone pain", subject={"reference": "Patient/q"})
    await condition(other, "z", "Bone pain")
    assert await ids(fhir, "/Condition", _text="bone") == ["a", "b"]
    assert await ids(other, "/Condition", _text="bone") == ["z"]
    assert await ids(fhir, "/Condition", _text="bone", token=await fhir.token("patient/*.rs", patient="p")) == ["a"]
    blind = await fhir.get("/Condition?_text=bone", token=await fhir.token("system/Patient.rs"))
    assert blind.status_code == 403


@pytest.mark.parametrize("name", ["_text", "_content"])
@pytest.mark.parametrize("asked", ["(bone", "bone)", '"bone', "-bone", "!!!", "and", "bone or", "''", ":*", "a,"])
async def test_what_cannot_be_asked_is_a_400_that_names_the_parameter(fhir: Client, name: str, asked: str) -> None:
    answer = await fhir.get("/Condition", params={name: asked})
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == [f"http.{name}"]


@pytest.mark.parametrize(
    "asked", ["a'b", "a\\'b", "a:*b", "a <-> b", "a & b | !c", "%s", "a%", "$1", "'; drop table x --"]
)
async def test_signs_of_the_database_have_no_meaning(fhir: Client, asked: str) -> None:
    assert (await fhir.get("/Condition", params={"_content": asked})).status_code in (200, 400)


async def test_full_text_takes_no_modifier_and_needs_a_narrative(fhir: Client) -> None:
    assert (await fhir.get("/Condition?_text:exact=bone")).status_code == 400
    assert (await fhir.get("/Condition?_content:missing=true")).status_code == 400
    assert (await fhir.get("/Binary?_text=bone")).status_code == 400
    assert (await fhir.get("/Binary?_content=bone")).status_code == 200


async def test_the_server_says_that_it_has_full_text(fhir: Client) -> None:
    statement = (await fhir.get("/metadata")).json()
    params = {r["type"]: {p["name"]: p["type"] for p in r["searchParam"]} for r in statement["rest"][0]["resource"]}
    assert params["Condition"]["_text"] == params["Condition"]["_content"] == "string"
    assert "_text" not in params["Binary"]


async def test_a_long_text_is_stored_and_found_by_its_beginning(fhir: Client) -> None:
    long = " ".join(f"w{number}" for number in range(30_000))
    await condition(fhir, "a", "", long + " again w1 " * 2000)
    assert await ids(fhir, "/Condition", _content="w1 w4000") == ["a"]
    assert await ids(fhir, "/Condition", _content="w29999") == []


async def test_resources_that_an_older_version_stored_are_found_when_they_are_indexed_anew(
    fhir: Client, other: Client, admin_dsn: str
) -> None:
    pressure = {"code": {"coding": [{"code": "sys"}]}, "valueQuantity": {"value": 160}}
    body = {"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}, "component": [pressure]}
    assert (await fhir.put("/Observation/o", json=body)).status_code == 201
    for client in (fhir, other):
        await condition(client, "a", "Bone pain")
    both = [fhir.tenant_id, other.tenant_id]
    async with await psycopg.AsyncConnection.connect(admin_dsn, autocommit=True) as admin:
        for table in ("idx_text", "idx_composite"):
            await admin.execute(f"delete from {table} where tenant_id = any(%s)".encode(), (both,))
        await admin.execute("update resource set narrow_hash = 7 where tenant_id = %s", (fhir.tenant_id,))
    assert await ids(fhir, "/Condition", _text="bone") == []
    tenant = await tenants.by_name(fhir.concord.db, fhir.tenant)
    assert tenant
    assert await reindex(fhir.concord.service, tenant, fhir.clock()) == 2
    assert await ids(fhir, "/Condition", subject="Patient/p") == ["a"]
    await jobs(fhir.concord).drain()
    assert await ids(fhir, "/Condition", _text="bone") == ["a"]
    assert await ids(fhir, "/Observation", **{"component-code-value-quantity": "sys$gt150"}) == ["o"]
    assert await ids(other, "/Condition", _text="bone") == []
