"""Conditional read, and history of a resource, a type and everything. http://hl7.org/fhir/R4/http.html#history"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.fhir import Client

PATIENT = {"resourceType": "Patient", "name": [{"family": "A"}]}


async def made(fhir: Client, resource: dict[str, Any] = PATIENT) -> str:
    answer = await fhir.post(f"/{resource['resourceType']}", json=resource)
    return f"{resource['resourceType']}/{answer.json()['id']}"


async def updated(fhir: Client, place: str, **more: Any) -> str:
    """Change a resource a second later and return the moment of it."""
    fhir.clock.move(timedelta(seconds=1))
    body = (await fhir.get(f"/{place}")).json() | more
    return str((await fhir.put(f"/{place}", json=body)).json()["meta"]["lastUpdated"])


async def deleted(fhir: Client, place: str) -> None:
    fhir.clock.move(timedelta(seconds=1))
    assert (await fhir.delete(f"/{place}")).status_code == 204


async def told(fhir: Client, path: str, **more: Any) -> list[tuple[str, str, str]]:
    """Return (method, Type/id, version) of every entry of every page."""
    found, url = [], path
    while url:
        answer = await fhir.get(url, **more)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert page["type"] == "history"
        for entry in page.get("entry", []):
            place = entry["fullUrl"].removeprefix(f"{fhir.base}/")
            found.append((entry["request"]["method"], place, entry["response"]["etag"]))
            assert ("resource" in entry) == (entry["request"]["method"] != "DELETE")
        url = next((k["url"].removeprefix(fhir.base) for k in page["link"] if k["relation"] == "next"), "")
    return found


# ---- conditional read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["", "/_history/1"])
async def test_a_read_of_what_the_client_has_is_304(fhir: Client, address: str) -> None:
    path = f"/{await made(fhir)}{address}"
    first = await fhir.get(path)
    for headers in (
        {"if-none-match": first.headers["etag"]},
        {"if-none-match": 'W/"7", W/"1"'},
        {"if-none-match": "*"},
        {"if-modified-since": first.headers["last-modified"]},
    ):
        again = await fhir.get(path, headers=headers)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", 'W/"1"'), headers


async def test_a_read_of_what_has_changed_is_200(fhir: Client) -> None:
    place = await made(fhir)
    first = await fhir.get(f"/{place}")
    await updated(fhir, place, active=True)
    for headers in (
        {"if-none-match": first.headers["etag"]},
        {"if-modified-since": first.headers["last-modified"]},
        {"if-modified-since": "yesterday"},
        {"if-none-match": 'W/"9"', "if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"},
    ):
        assert (await fhir.get(f"/{place}", headers=headers)).status_code == 200, headers


# ---- history ----------------------------------------------------------------------------------------------------


async def test_history_of_a_type_and_of_everything_tells_all_versions_newest_first(fhir: Client) -> None:
    one = await made(fhir)
    await updated(fhir, one, active=True)
    fhir.clock.move(timedelta(seconds=1))
    basic = await made(fhir, {"resourceType": "Basic", "code": {"text": "x"}})
    await deleted(fhir, one)
    patients = [("DELETE", one, 'W/"3"'), ("PUT", one, 'W/"2"'), ("POST", one, 'W/"1"')]
    assert await told(fhir, "/Patient/_history") == patients
    every = [patients[0], ("POST", basic, 'W/"1"'), *patients[1:]]
    assert await told(fhir, "/_history") == every
    assert await told(fhir, "/_history?_sort=_lastUpdated") == every[::-1]
    assert await told(fhir, "/_history?_count=1") == every
    assert await told(fhir, "/Patient/_history?_count=2&_sort=_lastUpdated") == patients[::-1]
    assert (await fhir.get("/Patient/_history")).json()["link"][0]["url"] == f"{fhir.base}/Patient/_history"


async def test_pages_neither_skip_nor_repeat_while_others_write(fhir: Client) -> None:
    places = [await made(fhir) for _ in range(6)]
    page = (await fhir.get("/Patient/_history?_count=4")).json()
    await updated(fhir, places[0], active=True)
    rest = await told(fhir, page["link"][1]["url"].removeprefix(fhir.base))
    first = [(e["request"]["method"], e["fullUrl"].removeprefix(f"{fhir.base}/"), 'W/"1"') for e in page["entry"]]
    assert sorted(first + rest) == sorted(("POST", place, 'W/"1"') for place in places)


@pytest.mark.parametrize("level", ["instance", "type", "system"])
async def test_since_tells_later_versions_and_at_those_that_were_current(fhir: Client, level: str) -> None:
    place = await made(fhir)
    second = await updated(fhir, place, active=True)
    third = await updated(fhir, place, active=False)
    path = {"instance": f"/{place}/_history", "type": "/Patient/_history", "system": "/_history"}[level]

    async def versions(query: str) -> list[str]:
        return [etag for _, _, etag in await told(fhir, f"{path}?{query}")]

    assert await versions(f"_since={second}") == ['W/"3"', 'W/"2"']
    assert await versions(f"_since={third}&_count=1") == ['W/"3"']
    assert await versions("_since=2100-01-01") == []
    assert await versions(f"_at={second}") == ['W/"2"']
    assert await versions(f"_at={third}") == ['W/"3"']
    assert await versions("_at=2000") == []
    assert await versions(f"_at={third[:4]}") == ['W/"3"', 'W/"2"', 'W/"1"']


@pytest.mark.parametrize(
    "query", ["_since=soon", "_at=2020-13", "_count=x", "_sort=name", "_cursor=AAAA", "name=a", "_count=1&_count=2"]
)
async def test_what_history_cannot_use_is_400(fhir: Client, query: str) -> None:
    place = await made(fhir)
    for path in ("/_history", "/Patient/_history", f"/{place}/_history"):
        assert (await fhir.get(f"{path}?{query}")).status_code == 400


async def test_history_shows_a_tenant_nothing_of_another(fhir: Client, other: Client) -> None:
    place = await made(other)
    assert await told(fhir, "/_history") == await told(fhir, "/Patient/_history") == []
    assert await told(other, "/_history") == [("POST", place, 'W/"1"')]


async def test_a_patients_history_is_of_its_own_record_alone_deletions_included(fhir: Client) -> None:
    mine, theirs = await made(fhir), await made(fhir)
    result = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
    own = await made(fhir, result | {"subject": {"reference": mine}})
    foreign = await made(fhir, result | {"subject": {"reference": theirs}})
    await deleted(fhir, own)
    await deleted(fhir, foreign)
    token = await fhir.token("patient/*.rs", patient=mine.partition("/")[2])
    seen = await told(fhir, "/Observation/_history", token=token)
    assert seen == [("DELETE", own, 'W/"2"'), ("POST", own, 'W/"1"')]
    assert sorted(await told(fhir, "/_history", token=token)) == sorted([*seen, ("POST", mine, 'W/"1"')])
    narrow = await fhir.token("system/Observation.s")
    assert (await fhir.get("/Patient/_history", token=narrow)).status_code == 403
    assert {place for _, place, _ in await told(fhir, "/_history", token=narrow)} == {own, foreign}
    reader = await fhir.token("system/*.r")
    assert (await fhir.get("/_history", token=reader)).status_code == 403


async def test_an_update_that_created_under_the_clients_id_is_told_as_one(fhir: Client) -> None:
    await fhir.put("/Patient/mine", json=PATIENT | {"id": "mine"})
    (one,) = (await fhir.get("/Patient/mine/_history")).json()["entry"]
    assert one["request"] == {"method": "PUT", "url": "Patient/mine"}
    assert one["response"]["status"] == "201"
