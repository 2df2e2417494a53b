"""search-type over HTTP, on a real database. http://hl7.org/fhir/R4/search.html"""

from __future__ import annotations

from typing import Any

import pytest

from tests.fhir import Client

MRN = "http://hospital.example/mrn"


async def patient(fhir: Client, family: str, **more: Any) -> str:
    answer = await fhir.post("/Patient", json={"resourceType": "Patient", "name": [{"family": family}]} | more)
    assert answer.status_code == 201, answer.text
    name: str = answer.json()["id"]
    return name


async def ids(fhir: Client, query: str) -> list[str]:
    answer = await fhir.get(query)
    assert answer.status_code == 200, answer.text
    return [e["resource"]["id"] for e in answer.json().get("entry", [])]


async def test_a_token_matches_by_system_and_code_by_code_and_by_system(fhir: Client) -> None:
    mine = await patient(fhir, "A", identifier=[{"system": MRN, "value": "17"}])
    await patient(fhir, "B", identifier=[{"system": MRN, "value": "18"}])
    bare = await patient(fhir, "C", identifier=[{"value": "17"}])
    assert await ids(fhir, f"/Patient?identifier={MRN}|17") == [mine]
    assert set(await ids(fhir, "/Patient?identifier=17")) == {mine, bare}
    assert await ids(fhir, "/Patient?identifier=|17") == [bare]
    assert len(await ids(fhir, f"/Patient?identifier={MRN}|")) == 2
    assert len(await ids(fhir, f"/Patient?identifier={MRN}|17,{MRN}|18")) == 2


async def test_a_string_matches_by_its_start_without_case_or_accents(fhir: Client) -> None:
    mine = await patient(fhir, "Ångström")
    assert await ids(fhir, "/Patient?family=ang") == [mine]
    assert await ids(fhir, "/Patient?name=ÅNGSTRÖM") == [mine]
    assert await ids(fhir, "/Patient?family=ström") == []


async def test_dates_match_as_intervals_with_their_prefixes(fhir: Client) -> None:
    mine = await patient(fhir, "D", birthDate="1970-03-30")
    for query in ("1970-03-30", "1970-03", "1970", "ge1970-03-30", "lt1970-03-31", "gt1970-03-29", "ne1971", "le1970"):
        assert await ids(fhir, f"/Patient?birthdate={query}") == [mine], query
    for query in ("1970-04", "gt1970-03-30", "lt1970-03-30", "ne1970", "sa1970", "eb1970"):
        assert await ids(fhir, f"/Patient?birthdate={query}") == [], query


async def test_references_match_by_type_and_id_by_id_and_by_address(fhir: Client) -> None:
    mine = await patient(fhir, "R")
    result = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": f"Patient/{mine}"},
    }
    made = (await fhir.post("/Observation", json=result)).json()["id"]
    for value in (f"Patient/{mine}", mine, f"{fhir.base}/Patient/{mine}"):
        assert await ids(fhir, f"/Observation?subject={value}") == [made], value
    assert await ids(fhir, f"/Observation?patient={mine}") == [made]
    assert await ids(fhir, "/Observation?subject=Patient/none") == []


async def test_several_parameters_are_and_and_commas_are_or(fhir: Client) -> None:
    mine = await patient(fhir, "Both", gender="female", birthDate="1980-01-01")
    await patient(fhir, "Both", gender="male", birthDate="1980-01-01")
    assert await ids(fhir, "/Patient?family=both&gender=female&birthdate=1980") == [mine]
    assert len(await ids(fhir, "/Patient?family=both&gender=female,male")) == 2
    assert await ids(fhir, "/Patient?family=both&gender=unknown") == []


async def test_id_and_last_updated(fhir: Client) -> None:
    mine = await patient(fhir, "I")
    await patient(fhir, "J")
    assert await ids(fhir, f"/Patient?_id={mine}") == [mine]
    year = fhir.clock().year
    assert mine in await ids(fhir, f"/Patient?_lastUpdated={year}")
    assert await ids(fhir, f"/Patient?_lastUpdated=lt{year}") == []


async def test_what_was_deleted_or_changed_is_no_longer_found_by_what_it_was(fhir: Client) -> None:
    mine = await patient(fhir, "Before", identifier=[{"system": MRN, "value": "old"}], birthDate="1950-01-01")
    await fhir.put(f"/Patient/{mine}", json={"resourceType": "Patient", "id": mine, "name": [{"family": "After"}]})
    for query in ("family=before", f"identifier={MRN}|old", "birthdate=1950"):
        assert await ids(fhir, f"/Patient?{query}") == [], query
    assert await ids(fhir, "/Patient?family=after") == [mine]
    await fhir.delete(f"/Patient/{mine}")
    assert await ids(fhir, "/Patient?family=after") == []
    assert await ids(fhir, "/Patient") == []


@pytest.mark.parametrize("sort", ["", "&_sort=_lastUpdated", "&_sort=-_lastUpdated"])
async def test_pages_neither_skip_nor_repeat_while_others_write(fhir: Client, sort: str) -> None:
    made = [await patient(fhir, f"P{n}") for n in range(7)]
    seen: list[str] = []
    url = f"/Patient?_count=3{sort}"
    while url:
        page = (await fhir.get(url)).json()
        seen += [e["resource"]["id"] for e in page.get("entry", [])]
        await patient(fhir, "Late")
        url = next((item["url"].removeprefix(fhir.base) for item in page["link"] if item["relation"] == "next"), "")
        assert len(seen) < 50
        if len(seen) >= 7 and sort == "&_sort=_lastUpdated":
            break
    assert len(seen) == len(set(seen))
    assert set(made) <= set(seen)


async def test_a_page_token_serves_no_other_user_query_or_tenant(fhir: Client, other: Client) -> None:
    for n in range(3):
        await patient(fhir, f"T{n}")
        await patient(other, f"T{n}")
    page = (await fhir.get("/Patient?_count=1")).json()
    url = next(item["url"].removeprefix(fhir.base) for item in page["link"] if item["relation"] == "next")
    assert (await fhir.get(url)).status_code == 200
    assert (await other.get(url)).status_code == 400
    assert (await fhir.get(url, token=await fhir.token("system/*.cruds", subject="another"))).status_code == 400
    assert (await fhir.get(url + "&family=t")).status_code == 400
    assert (await fhir.get(url[:-4] + "AAAA")).status_code == 400


async def test_total_is_told_when_asked_and_summary_count_sends_no_rows(fhir: Client) -> None:
    for n in range(3):
        await patient(fhir, f"N{n}")
    assert "total" not in (await fhir.get("/Patient")).json()
    page = (await fhir.get("/Patient?_total=accurate&_count=1")).json()
    assert (page["total"], len(page["entry"])) == (3, 1)
    count = (await fhir.get("/Patient?_summary=count")).json()
    assert (count["total"], "entry" in count) == (3, False)


async def test_post_search_finds_the_same(fhir: Client) -> None:
    mine = await patient(fhir, "Posted")
    answer = await fhir.post("/Patient/_search", data={"family": "posted"})
    assert [e["resource"]["id"] for e in answer.json()["entry"]] == [mine]


async def test_an_unknown_parameter_is_refused_unless_the_client_asks_for_leniency(fhir: Client) -> None:
    mine = await patient(fhir, "L")
    strict = await fhir.get("/Patient?shoesize=44")
    assert strict.status_code == 400
    assert "shoesize" in strict.json()["issue"][0]["diagnostics"]
    lenient = await fhir.get("/Patient?shoesize=44", headers={"prefer": "handling=lenient"})
    assert lenient.status_code == 200
    body = lenient.json()
    assert "shoesize" not in next(item["url"] for item in body["link"] if item["relation"] == "self")
    modes = {e["search"]["mode"]: e["resource"] for e in body["entry"]}
    assert modes["match"]["id"] == mine
    assert "shoesize" in modes["outcome"]["issue"][0]["diagnostics"]


@pytest.mark.parametrize(
    "query",
    [
        "birthdate=soon",
        "_count=many",
        "name:nonsense=x",
        "_sort=shoesize",
        "birthdate=ge",
        "_total=maybe",
        "_lastUpdated=x",
    ],
)
async def test_an_unusable_value_or_modifier_is_400_even_when_lenient(fhir: Client, query: str) -> None:
    answer = await fhir.get(f"/Patient?{query}", headers={"prefer": "handling=lenient"})
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["diagnostics"]
