"""Broken object-level authorisation: N01 to N07. Nobody learns of a row by any way that leads past it.

https://owasp.org/API-Security/editions/2023/en/0xa1-broken-object-level-authorization/
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.fhir import Client
from tests.security.records import SYSTEM, WORD, Pair, alike, pair, put, ref, result, whole

KEY = f"{SYSTEM}|{WORD}"
PLACES = ("", "/_history", "/_history/1", "/$meta")


async def test_n01_reading_what_is_anothers_is_like_reading_what_does_not_exist(fhir: Client, other: Client) -> None:
    mine = await pair(fhir)
    await put(other, {"resourceType": "Patient", "id": "elsewhere", "name": [{"family": WORD}]})
    for place in PLACES:
        absent = await mine.get(f"/Patient/absent{place}")
        assert absent.status_code == 404, place
        for hidden in ("theirs", "elsewhere"):
            alike(await mine.get(f"/Patient/{hidden}{place}"), absent, hidden, "absent")
        alike(await mine.get(f"/Observation/their-result{place}"), await mine.get(f"/Observation/absent{place}"),
              "their-result", "absent")  # fmt: skip
    for place in ("/Patient/_history", "/_history", "/Observation/_history"):
        answer = await mine.get(f"{place}?_count=1000")
        assert WORD not in whole(answer)
        assert "theirs" not in answer.text
    alike(await mine.send("HEAD", "/Patient/theirs"), await mine.send("HEAD", "/Patient/absent"))


@pytest.mark.parametrize(
    "query",
    [
        "/Observation?_include=Observation:encounter&_include=Observation:subject",
        "/Observation?_include=*&_include:iterate=*",
        "/Practitioner?_revinclude=Observation:performer",
        "/Practitioner?_revinclude=*&_revinclude:iterate=*&_include:iterate=*",
        "/Organization?_revinclude=Patient:organization&_revinclude:iterate=Observation:subject",
        "/Observation?_include=Observation:subject:Patient&_sort=-_lastUpdated",
        "/Practitioner?_revinclude=Observation:performer&_sort=family&_count=1",
        "?_type=Practitioner,Organization&_revinclude=*",
    ],
)
async def test_n02_no_include_brings_what_is_anothers(fhir: Client, query: str) -> None:
    mine = await pair(fhir)
    # An own result names another's encounter: a link out of the record.
    await put(fhir, result("bridge", "mine", encounter=ref("Encounter/visit"), performer=[ref("Practitioner/doc")]))
    found = await mine.found(query)
    assert found
    assert not {"Patient/theirs", "Encounter/visit", "Observation/their-result"} & set(found)


async def test_n03_a_page_token_is_good_for_its_own_token_tenant_and_query_alone(fhir: Client, other: Client) -> None:
    mine = await pair(fhir)
    for number in range(4):
        await put(fhir, result(f"more-{number}", "mine"))
    wide = await fhir.token("system/*.rs")
    first = (await fhir.get("/Observation?_count=1", token=wide)).json()
    [page] = [link["url"].removeprefix(fhir.base) for link in first["link"] if link["relation"] == "next"]
    assert (await fhir.get(page, token=wide)).status_code == 200
    narrow = await fhir.token("system/Patient.rs")
    for answer in (await mine.get(page), await other.get(page), await fhir.get(page, token=narrow)):
        assert answer.status_code in (400, 403), answer.text
        assert WORD not in whole(answer)
    # Of the same subject with less to see, the rest of the pages shows less.
    same = await fhir.token("patient/Observation.rs", patient="mine")
    rest = await fhir.get(page.replace("_count=1", "_count=100"), token=same)
    assert rest.status_code == 400 or "their-result" not in rest.text
    cursor = page.partition("_cursor=")[2].partition("&")[0]
    stolen = await fhir.get(f"/Encounter?_count=1&_cursor={cursor}", token=wide)
    assert stolen.status_code == 400


ORACLES = [
    "/Observation?patient.name={word}",
    "/Observation?subject:Patient.identifier={key}",
    "/Observation?encounter.identifier={key}",
    "/Observation?encounter.subject:Patient.name={word}",
    "/Patient?_has:Observation:patient:identifier={key}",
    "/Organization?_has:Patient:organization:name={word}",
    "/Practitioner?_has:Observation:performer:patient.name={word}",
    "/Organization?_has:Patient:organization:_has:Observation:patient:value-string={word}",
    "/Observation?performer:Practitioner._has:Observation:performer:value-string={word}",
    "/Observation?code-value-string=x${word}",
]


@pytest.mark.parametrize("query", ORACLES)
async def test_n04_no_chain_tells_of_rows_that_cannot_be_read(fhir: Client, query: str) -> None:
    mine = await pair(fhir)
    await put(fhir, result("bridge", "mine", encounter=ref("Encounter/visit"), performer=[ref("Practitioner/doc")]))
    asked = query.format(word=WORD, key=KEY)
    path, _, rest = asked.partition("?")
    answers = [await mine.get(f"{path}?_total=accurate&{rest}"), await mine.form(path, f"_total=accurate&{rest}")]
    # The wide token finds them: the question itself is a good one.
    assert (await fhir.get(f"{path}?_total=accurate&{rest}")).json()["total"] >= 1
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert (answer.json()["total"], answer.json().get("entry", [])) == (0, [])
    assert (await mine.get(f"{path}?_filter=name eq x")).status_code == 400


async def test_n05_no_count_condition_or_version_tells_of_what_is_hidden(fhir: Client) -> None:
    mine = await pair(fhir)
    for query in (f"identifier={KEY}", f"_tag={KEY}", f"name={WORD}", "_id=theirs", "birthdate=1953-07-04"):
        for counting in ("_total=accurate", "_summary=count", "_total=estimate"):
            assert (await mine.get(f"/Patient?{query}&{counting}")).json()["total"] == 0
    assert (await mine.get("/Patient?_summary=count")).json()["total"] == 1
    for order in ("family", "-birthdate", "_lastUpdated"):
        assert await mine.found(f"/Patient?_sort={order}") == ["Patient/mine"]
    for headers in ({"if-none-match": 'W/"1"'}, {"if-modified-since": "Sat, 01 Jan 2000 00:00:00 GMT"}):
        alike(await mine.get("/Patient/theirs", headers=headers), await mine.get("/Patient/absent", headers=headers),
              "theirs", "absent")  # fmt: skip
    await _conditions(mine)


async def _conditions(mine: Pair) -> None:
    """Hold conditional writes: criteria that match the hidden row behave as those that match nothing."""
    made = result("new", "mine")
    del made["id"]
    for key in (KEY, f"{SYSTEM}|nothing"):
        answer = await mine.send("POST", "/Observation", json=made, headers={"if-none-exist": f"identifier={key}"})
        assert answer.status_code == 201, answer.text
        assert (await mine.send("DELETE", f"/Observation?identifier={key}")).status_code == 204
        patch: Any = {"content": b"[]", "headers": {"content-type": "application/json-patch+json"}}
        assert (await mine.send("PATCH", f"/Observation?identifier={key}", **patch)).status_code == 404
        assert (await mine.send("PUT", f"/Observation?identifier={key}", json=made)).status_code == 201
    assert (await mine.fhir.get("/Observation/their-result")).json()["meta"]["versionId"] == "1"


async def test_n06_other_roads_to_a_record_are_closed_alike(fhir: Client) -> None:
    mine = await pair(fhir)
    for path in ("/Patient/theirs/Observation", "/Patient/theirs/*", "/Encounter/visit/Observation"):
        answer = await mine.get(f"{path}?_total=accurate")
        alike(answer, await mine.get(f"{path.replace('theirs', 'absent').replace('visit', 'absent')}?_total=accurate"),
              "theirs", "visit", "absent")  # fmt: skip
        assert WORD not in whole(answer)
        assert "their-result" not in answer.text
    for path in (
        "/Patient/{}/$everything",
        "/Observation/$lastn?patient=Patient/{}",
        "/DocumentReference/$docref?patient={}",
    ):
        alike(await mine.get(path.format("theirs")), await mine.get(path.format("absent")), "theirs", "absent")
    assert WORD not in whole(await mine.get("/Patient/$everything"))
    # What is not offered answers nobody, whatever is asked by it.
    for absent in ("/$graphql", "/Patient/$match", "/Patient/mine/$graphql", "/Patient/mine/$export"):
        assert (await mine.get(absent)).status_code in (400, 404, 405)


async def test_n07_every_entry_of_a_bundle_is_asked_for_by_itself(fhir: Client) -> None:
    mine = await pair(fhir)

    def bundle(kind: str, *entries: Any) -> Any:
        made = [{"request": {"method": m, "url": u}, **({"resource": r} if r else {}), **f} for m, u, r, f in entries]
        return {"resourceType": "Bundle", "type": kind, "entry": made}

    reads = [
        ("GET", url, None, {}) for url in ("Patient/theirs", "Patient?birthdate=1953-07-04", "Observation/their-result")
    ]
    answer = await mine.send("POST", "", json=bundle("batch", *reads))
    assert [e["response"]["status"][:3] for e in answer.json()["entry"]] == ["404", "200", "404"]
    assert WORD not in whole(answer)
    stolen = result("x", "theirs")
    own = result("x", "mine")
    for entry in (
        ("POST", "Observation", stolen, {}),
        ("PUT", "Observation/their-result", own | {"id": "their-result"}, {}),
        ("DELETE", "Observation/their-result", None, {}),
        # A name of the bundle's own that stands for another's resource, and criteria that find it.
        ("POST", "Observation", own | {"subject": ref("urn:uuid:c757873d-ec9a-4326-a141-556f43239520")}, {}),
        ("POST", "Observation", own | {"subject": ref("Patient?birthdate=1953-07-04")}, {}),
    ):
        swap = ("PUT", "Patient/theirs", {"resourceType": "Patient", "id": "theirs"},
                {"fullUrl": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"})  # fmt: skip
        more = [swap] if "urn:uuid" in str(entry) else []
        answer = await mine.send("POST", "", json=bundle("transaction", entry, *more))
        assert 400 <= answer.status_code < 500, (entry, answer.text)
        assert WORD not in whole(answer)
    assert (await fhir.get("/Observation/their-result")).json()["meta"]["versionId"] == "1"
    assert (await fhir.get("/Patient/theirs")).json()["meta"]["versionId"] == "1"
    assert (await fhir.get("/Observation?subject=Patient/theirs&_total=accurate")).json()["total"] == 1
