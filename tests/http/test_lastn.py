"""Observation/$lastn. http://hl7.org/fhir/R4/observation-operation-lastn.html"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.fhir import Client, running

VITAL = [{"coding": [{"system": "http://c", "code": "vital-signs"}]}]


def codes(*names: str) -> dict[str, Any]:
    """Return a CodeableConcept: `system|code` is a coding, anything else the text."""
    pairs = [name.split("|") for name in names if "|" in name]
    texts = [name for name in names if "|" not in name]
    coding = {"coding": [{"system": s, "code": c} for s, c in pairs]} if pairs else {}
    return coding | ({"text": texts[0]} if texts else {})


async def patient(fhir: Client) -> str:
    return f"Patient/{(await fhir.post('/Patient', json={'resourceType': 'Patient'})).json()['id']}"


async def observe(fhir: Client, who: str, when: str | None, *names: str, **more: Any) -> str:
    body = {
        "resourceType": "Observation",
        "status": "final",
        "code": codes(*names),
        "category": VITAL,
        "subject": {"reference": who},
        **({"effectiveDateTime": when} if when else {}),
        **more,
    }
    answer = await fhir.post("/Observation", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [e["resource"]["id"] for e in answer.json().get("entry", [])]


async def test_the_latest_of_each_code_the_most_recent_first(fhir: Client) -> None:
    who = await patient(fhir)
    pulse = [await observe(fhir, who, f"2024-0{month}-01", "s|pulse") for month in (3, 1, 2)]
    weight = [await observe(fhir, who, f"2024-0{month}-02", "s|weight") for month in (1, 2)]
    await observe(fhir, await patient(fhir), "2025-01-01", "s|pulse")
    path = f"/Observation/$lastn?patient={who}&category=vital-signs"
    assert ids(await fhir.get(path)) == [pulse[0], weight[1]]
    assert ids(await fhir.get(f"{path}&max=2")) == [pulse[0], weight[1], pulse[2], weight[0]]
    assert ids(await fhir.get(f"{path}&max=9&code=s|weight")) == [weight[1], weight[0]]
    assert ids(await fhir.get(f"{path}&date=lt2024-02")) == [weight[0], pulse[1]]
    assert ids(await fhir.get(f"/Observation/$lastn?subject={who}&code=s|pulse")) == [pulse[0]]
    assert ids(await fhir.get(f"{path}&code=s|none")) == []
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "patient", "valueReference": {"reference": who}},
            {"name": "category", "valueString": "vital-signs"},
            {"name": "max", "valuePositiveInt": 2},
        ],
    }
    assert ids(await fhir.post("/Observation/$lastn", json=body)) == [pulse[0], weight[1], pulse[2], weight[0]]


async def test_a_tie_brings_more_than_the_maximum(fhir: Client) -> None:
    who = await patient(fhir)
    late = {await observe(fhir, who, "2024-03-01T10:00:00Z", "s|a") for _ in range(2)}
    await observe(fhir, who, "2024-03-01T09:59:59Z", "s|a")
    assert set(ids(await fhir.get(f"/Observation/$lastn?patient={who}&category=vital-signs"))) == late


# The table of the operation's definition, and two that it leaves out.
@pytest.mark.parametrize(
    ("first", "second", "third", "groups"),
    [
        (["s|a"], ["s|b"], ["s|c"], 3),
        (["s|a"], ["s|b"], ["s|a", "s|c"], 2),
        (["s|a"], ["s|b"], ["s|a", "s|b"], 1),
        (["textM"], ["Text"], ["t e x t"], 3),
        (["s|a"], ["t|a"], ["a"], 3),
        (["s|a", "x"], ["s|b", "x"], ["x"], 3),
    ],
)
async def test_codes_that_are_translations_of_each_other_are_one_group(
    fhir: Client, first: list[str], second: list[str], third: list[str], groups: int
) -> None:
    who = await patient(fhir)
    for day, names in enumerate((first, second, third), 1):
        await observe(fhir, who, f"2024-03-0{day}", *names)
    assert len(ids(await fhir.get(f"/Observation/$lastn?patient={who}&category=vital-signs"))) == groups


async def test_periods_count_from_their_start_and_what_has_no_time_comes_last(fhir: Client) -> None:
    who = await patient(fhir)
    undated = await observe(fhir, who, None, "s|a")
    long = await observe(fhir, who, None, "s|a", effectivePeriod={"start": "2024-01-01", "end": "2024-12-31"})
    assert ids(await fhir.get(f"/Observation/$lastn?patient={who}&code=s|a&max=5")) == [long, undated]


async def test_what_is_not_the_question_is_refused(fhir: Client) -> None:
    for query, name in (
        ("category=x", "patient"),
        ("patient=Patient/1", "category"),
        ("patient=Patient/1,Patient/2&category=x", "patient"),
        ("patient=Patient/1&category=x&max=0", "max"),
        ("patient=Patient/1&category=x&max=1&max=2", "max"),
        ("patient=Patient/1&category=x&_sort=date", "_sort"),
        ("patient=Patient/1&category=x&nonsense=1", "nonsense"),
        ("patient=Patient/1&category=x&date=tomorrow", "date"),
    ):
        answer = await fhir.get(f"/Observation/$lastn?{query}")
        assert (answer.status_code, answer.json()["issue"][0]["expression"]) == (400, [f"http.{name}"]), query
    assert (await fhir.get("/Patient/$lastn?patient=1&category=x")).status_code == 404


async def test_it_shows_what_the_token_may_search(fhir: Client, other: Client) -> None:
    who, stranger = await patient(fhir), await patient(fhir)
    mine = await observe(fhir, who, "2024-01-01", "s|a")
    await observe(fhir, stranger, "2024-01-01", "s|a")
    token = await fhir.token("patient/Observation.rs", patient=who.partition("/")[2])
    assert ids(await fhir.get("/Observation/$lastn?category=vital-signs", token=token)) == [mine]
    assert ids(await fhir.get(f"/Observation/$lastn?patient={stranger}&category=vital-signs", token=token)) == []
    reader = await fhir.token("system/Observation.r")
    assert (await fhir.get(f"/Observation/$lastn?patient={who}&code=a", token=reader)).status_code == 403
    assert ids(await other.get(f"/Observation/$lastn?patient={who}&category=vital-signs")) == []


async def test_more_than_the_server_looks_through_is_refused(server_dsn: str, fhir: Client) -> None:
    who = await patient(fhir)
    for _ in range(3):
        await observe(fhir, who, "2024-01-01", "s|a")
    async with running(server_dsn, max_latest=2) as (concord, clock):
        small = Client(concord, clock, fhir._tenant, fhir.http)
        answer = await small.get(f"/Observation/$lastn?patient={who}&category=vital-signs")
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "too-costly")
