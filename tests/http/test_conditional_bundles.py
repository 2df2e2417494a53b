"""Conditional entries and references of a transaction. http://hl7.org/fhir/R4/http.html#trules"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fhir_server.store.database import Tx
from tests.fhir import Client

SYSTEM = "http://ids.example"
Json = dict[str, Any]


def patient(value: str, **more: Any) -> Json:
    return {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": value}], **more}


def result(reference: str) -> Json:
    code = {"text": "x"}
    return {"resourceType": "Observation", "status": "final", "code": code, "subject": {"reference": reference}}


def entry(method: str, url: str, resource: Json | None = None, full_url: str | None = None, **request: str) -> Json:
    made: Json = {"request": {"method": method, "url": url, **request}}
    if resource:
        made["resource"] = resource
    return made | ({"fullUrl": full_url} if full_url else {})


def unless(value: str, full_url: str | None = None) -> Json:
    return entry("POST", "Patient", patient(value), full_url, ifNoneExist=f"identifier={SYSTEM}|{value}")


def bundle(*entries: Json, kind: str = "transaction") -> Json:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


async def places(fhir: Client, *entries: Json) -> list[str]:
    """Return what the entries of a transaction became, as Type/id."""
    answer = await fhir.post("", json=bundle(*entries))
    assert answer.status_code == 200, answer.text
    return [
        e["response"]["location"].removeprefix(f"{fhir.base}/").split("/_history")[0] for e in answer.json()["entry"]
    ]


async def subject(fhir: Client, place: str) -> str:
    return str((await fhir.get(f"/{place}")).json()["subject"]["reference"])


async def statuses(fhir: Client, *entries: Json, kind: str = "transaction") -> list[str]:
    answer = await fhir.post("", json=bundle(*entries, kind=kind))
    assert answer.status_code == 200, answer.text
    return [e["response"]["status"] for e in answer.json()["entry"]]


@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_entries_of_a_bundle_are_conditional_like_requests_alone(fhir: Client, kind: str) -> None:
    await fhir.post("/Patient", json=patient("old"))
    await fhir.post("/Patient", json=patient("gone"))
    found = await statuses(
        fhir,
        unless("new"),
        unless("old"),
        entry("PUT", f"Patient?identifier={SYSTEM}|put", patient("put")),
        entry("DELETE", f"Patient?identifier={SYSTEM}|gone"),
        entry("DELETE", f"Patient?identifier={SYSTEM}|never"),
        kind=kind,
    )
    assert found == ["201", "200", "201", "204", "204"]
    assert (await fhir.get("/Patient?_summary=count")).json()["total"] == 3


async def test_references_to_a_conditional_entry_become_what_it_found(fhir: Client) -> None:
    there = (await fhir.post("/Patient", json=patient("1"))).json()["id"]
    url = "urn:uuid:7fd3bfa6-4c6a-4bb1-a7c6-7a8d4f7d1c1e"
    found, made = await places(fhir, unless("1", url), entry("POST", "Observation", result(url)))
    assert found == f"Patient/{there}"
    assert await subject(fhir, made) == found


async def test_conditional_creates_that_ask_the_same_in_one_transaction_are_one(fhir: Client) -> None:
    one, two = "urn:uuid:7fd3bfa6-4c6a-4bb1-a7c6-7a8d4f7d1c1e", "urn:oid:1.2.3.4"
    first, second, made = await places(
        fhir, unless("1", one), unless("1", two), entry("POST", "Observation", result(two))
    )
    assert first == second == await subject(fhir, made)
    assert (await fhir.get("/Patient?_summary=count")).json()["total"] == 1


async def test_two_conditional_updates_of_one_resource_are_refused(fhir: Client) -> None:
    put = entry("PUT", f"Patient?identifier={SYSTEM}|1", patient("1"))
    for _ in range(2):
        answer = await fhir.post("", json=bundle(put, put))
        assert answer.status_code == 400
        assert answer.json()["issue"][0]["expression"] == ["Bundle.entry[1].resource"]
        await fhir.post("/Patient", json=patient("1"))


async def test_conditional_references_become_what_they_find(fhir: Client) -> None:
    there = (await fhir.post("/Patient", json=patient("1", birthDate="1970-01-01"))).json()["id"]
    by_identifier, by_others = await places(
        fhir,
        entry("POST", "Observation", result(f"Patient?identifier={SYSTEM}|1")),
        entry("POST", "Observation", result(f"Patient?identifier={SYSTEM}%7C1&birthdate=1970-01-01")),
    )
    assert await subject(fhir, by_identifier) == await subject(fhir, by_others) == f"Patient/{there}"
    assert (await fhir.get(f"/Observation?subject=Patient/{there}&_summary=count")).json()["total"] == 2


async def test_a_conditional_reference_finds_what_the_same_transaction_makes(fhir: Client) -> None:
    made, linked = await places(
        fhir,
        entry("POST", "Patient", patient("1")),
        entry("POST", "Observation", result(f"Patient?identifier={SYSTEM}|1")),
    )
    assert await subject(fhir, linked) == made


@pytest.mark.parametrize("matches", [0, 2])
async def test_a_conditional_reference_that_finds_none_or_several_fails_the_whole(fhir: Client, matches: int) -> None:
    for _ in range(matches):
        await fhir.post("/Patient", json=patient("1"))
    answer = await fhir.post(
        "",
        json=bundle(
            entry("POST", "Basic", {"resourceType": "Basic", "code": {"text": "x"}}),
            entry("POST", "Observation", result(f"Patient?identifier={SYSTEM}|1")),
        ),
    )
    assert answer.status_code == 412
    assert answer.json()["issue"][0]["expression"] == ["Bundle.entry[1].resource"]
    assert (await fhir.get("/Basic?_summary=count")).json()["total"] == 0


async def test_criteria_that_fail_name_their_entry_and_undo_the_whole(fhir: Client) -> None:
    for _ in range(2):
        await fhir.post("/Patient", json=patient("1"))
    basic = entry("POST", "Basic", {"resourceType": "Basic", "code": {"text": "x"}})
    for failing, status in ((unless("1"), 412), (entry("PUT", "Patient?odd=1", patient("3")), 400)):
        answer = await fhir.post("", json=bundle(basic, failing))
        assert answer.status_code == status
        assert answer.json()["issue"][0]["expression"][0].startswith("Bundle.entry[1]")
    assert (await fhir.get("/Basic?_summary=count")).json()["total"] == 0


async def test_relative_references_are_read_under_the_full_url_of_their_entry(fhir: Client) -> None:
    base = "http://source.example/fhir"
    patient_place, here, elsewhere, absolute = await places(
        fhir,
        entry("POST", "Patient", patient("1"), f"{base}/Patient/7"),
        entry("POST", "Observation", result("Patient/7"), f"{base}/Observation/1"),
        entry("POST", "Observation", result("Patient/7"), "http://other.example/fhir/Observation/1"),
        entry("POST", "Observation", result(f"{base}/Patient/7"), "urn:oid:1.2.3"),
    )
    assert await subject(fhir, here) == await subject(fhir, absolute) == patient_place
    assert await subject(fhir, elsewhere) == "Patient/7"


async def test_another_tenants_resources_are_no_target_of_a_conditional_reference(fhir: Client, other: Client) -> None:
    await other.post("/Patient", json=patient("1"))
    answer = await fhir.post("", json=bundle(entry("POST", "Observation", result(f"Patient?identifier={SYSTEM}|1"))))
    assert answer.status_code == 412


async def test_a_patients_reference_finds_no_other_patient(fhir: Client) -> None:
    mine = (await fhir.post("/Patient", json=patient("mine"))).json()["id"]
    await fhir.post("/Patient", json=patient("theirs"))
    token = await fhir.token("patient/*.cruds", patient=mine)
    for value, status in (("mine", 200), ("theirs", 412)):
        body = bundle(entry("POST", "Observation", result(f"Patient?identifier={SYSTEM}|{value}")))
        assert (await fhir.post("", json=body, token=token)).status_code == status


async def test_transactions_that_meet_in_opposite_order_all_end(fhir: Client) -> None:
    names = [str(n) for n in range(8)]

    async def one(turn: int) -> int:
        order = names if turn % 2 else names[::-1]
        puts = [
            entry("PUT", f"Patient?identifier={SYSTEM}|{n}", patient(n, multipleBirthInteger=turn + 1)) for n in order
        ]
        return (await fhir.post("", json=bundle(*puts))).status_code

    assert set(await asyncio.gather(*map(one, range(20)))) == {200}
    assert (await fhir.get("/Patient?_summary=count")).json()["total"] == len(names)


async def test_fifty_transactions_with_one_conditional_create_make_one(fhir: Client) -> None:
    found = await asyncio.gather(*(statuses(fhir, unless("1"), unless(f"own-{n}")) for n in range(50)))
    assert sorted(first for first, _ in found) == ["200"] * 49 + ["201"]
    assert {second for _, second in found} == {"201"}


async def test_the_statements_of_a_transaction_do_not_grow_with_its_criteria(
    fhir: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    defer, fetch = Tx.defer, Tx.fetch
    monkeypatch.setattr(Tx, "defer", lambda tx, sql, params=(): (sent.append(sql), defer(tx, sql, params))[1])
    monkeypatch.setattr(Tx, "fetch", lambda tx, sql, params=(): (sent.append(sql), fetch(tx, sql, params))[1])
    counts = []
    for first, number in ((0, 2), (100, 50)):
        sent.clear()
        names = range(first, first + number)
        entries = [unless(str(n)) for n in names]
        entries += [entry("POST", "Observation", result(f"Patient?identifier={SYSTEM}|{n}")) for n in names]
        assert await statuses(fhir, *entries) == ["201"] * 2 * number
        counts.append(len(sent))
    assert max(counts) < 12, sent


async def test_hundreds_of_conditional_entries_are_one_transaction(fhir: Client) -> None:
    entries = [unless(str(n)) for n in range(300)]
    entries += [entry("POST", "Observation", result(f"Patient?identifier={SYSTEM}|{n}")) for n in range(300)]
    assert await statuses(fhir, *entries) == ["201"] * 600
    assert await statuses(fhir, *entries[:300]) == ["200"] * 300


async def test_a_read_that_fails_is_told_in_its_entry_and_undoes_nothing(fhir: Client) -> None:
    found = await statuses(fhir, entry("GET", "Patient/none"), unless("1"), entry("GET", "Patient?identifier=1"))
    assert found == ["404", "201", "200"]


async def test_what_a_transaction_deletes_is_found_by_none_of_its_creates_and_references(fhir: Client) -> None:
    there = (await fhir.post("/Patient", json=patient("1"))).json()["id"]
    assert await statuses(fhir, unless("1"), entry("DELETE", f"Patient/{there}")) == ["201", "204"]
    (now,) = (await fhir.get(f"/Patient?identifier={SYSTEM}|1")).json()["entry"]
    assert now["resource"]["id"] != there
    assert await statuses(fhir, unless("1"), entry("DELETE", f"Patient?identifier={SYSTEM}|1")) == ["201", "204"]
    (now,) = (await fhir.get(f"/Patient?identifier={SYSTEM}|1")).json()["entry"]
    reference = entry("POST", "Observation", result(f"Patient?identifier={SYSTEM}|1"))
    lost = await fhir.post("", json=bundle(entry("DELETE", f"Patient/{now['resource']['id']}"), reference))
    assert lost.status_code == 412
    assert lost.json()["issue"][0]["expression"] == ["Bundle.entry[1].resource"]


async def test_what_a_transaction_deletes_does_not_hide_what_stays(fhir: Client) -> None:
    first, *stay = [(await fhir.post("/Patient", json=patient("1"))).json()["id"] for _ in range(3)]
    several = await fhir.post("", json=bundle(entry("DELETE", f"Patient/{first}"), unless("1")))
    assert several.status_code == 412
    both = (entry("DELETE", f"Patient/{first}"), entry("DELETE", f"Patient/{stay[0]}"))
    reference = entry("POST", "Observation", result(f"Patient?identifier={SYSTEM}|1"))
    answer = await fhir.post("", json=bundle(*both, unless("1"), reference))
    assert [e["response"]["status"] for e in answer.json()["entry"]] == ["204", "204", "200", "201"]
    made = answer.json()["entry"][3]["response"]["location"].removeprefix(f"{fhir.base}/").split("/_history")[0]
    assert await subject(fhir, made) == f"Patient/{stay[1]}"
