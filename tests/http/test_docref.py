"""DocumentReference/$docref. http://hl7.org/fhir/us/core/OperationDefinition-docref.html"""

from __future__ import annotations

from typing import Any

import httpx

from tests.fhir import Client

CCD, NOTE = "34133-9", "11506-3"


async def patient(fhir: Client) -> str:
    return str((await fhir.post("/Patient", json={"resourceType": "Patient"})).json()["id"])


async def document(fhir: Client, who: str, day: str, code: str = CCD, **more: Any) -> str:
    body = {
        "resourceType": "DocumentReference",
        "status": "current",
        "subject": {"reference": f"Patient/{who}"},
        "type": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "date": f"{day}T12:00:00Z",
        "context": {"period": {"start": day, "end": day}},
        "content": [{"attachment": {"url": "Binary/x", "contentType": "application/pdf"}}],
        **more,
    }
    answer = await fhir.post("/DocumentReference", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    assert answer.json()["type"] == "searchset"
    return [e["resource"]["id"] for e in answer.json().get("entry", [])]


async def test_without_dates_the_latest_document_and_without_a_type_the_summary_of_care(fhir: Client) -> None:
    who = await patient(fhir)
    late = await document(fhir, who, "2024-05-01")
    await document(fhir, who, "2023-05-01")
    await document(fhir, who, "2025-05-01", status="superseded")
    note = await document(fhir, who, "2024-06-01", NOTE)
    path = f"/DocumentReference/$docref?patient={who}"
    assert ids(await fhir.get(path)) == [late]
    assert ids(await fhir.get(f"{path}&type=http://loinc.org|{NOTE}")) == [note]
    assert ids(await fhir.get(f"{path}&on-demand=false")) == [late]
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "patient", "valueId": who},
            {"name": "type", "valueCoding": {"system": "http://loinc.org", "code": NOTE}},
        ],
    }
    assert ids(await fhir.post("/DocumentReference/$docref", json=body)) == [note]


async def test_with_dates_all_documents_of_that_care_in_pages(fhir: Client) -> None:
    who = await patient(fhir)
    old, late = [await document(fhir, who, f"{year}-05-01") for year in (2023, 2024)]
    note = await document(fhir, who, "2024-06-01", NOTE)
    path = f"/DocumentReference/$docref?patient={who}"
    assert set(ids(await fhir.get(f"{path}&start=2024-01-01"))) == {late, note}
    assert set(ids(await fhir.get(f"{path}&start=2024-01-01&end=2024-05-31"))) == {late}
    assert set(ids(await fhir.get(f"{path}&end=2024-05-31"))) == {old, late}
    assert set(ids(await fhir.get(f"{path}&start=2020-01-01&type={NOTE},{CCD}"))) == {old, late, note}
    answer = await fhir.get(f"{path}&start=2020-01-01")
    own = next(x["url"] for x in answer.json()["link"] if x["relation"] == "self")
    assert ids(await fhir.get(own.removeprefix(fhir.base))) == ids(answer)


async def test_nothing_is_made_on_demand(fhir: Client) -> None:
    who = await patient(fhir)
    await document(fhir, who, "2024-05-01")
    assert ids(await fhir.get(f"/DocumentReference/$docref?patient={who}&on-demand=true")) == []
    assert ids(await fhir.get("/DocumentReference/$docref?patient=nobody")) == []


async def test_what_cannot_be_used_is_refused_by_name(fhir: Client) -> None:
    for query, name in (
        ("", "patient"),
        ("patient=a b", "patient"),
        ("patient=1&start=soon", "start"),
        ("patient=1&on-demand=maybe", "on-demand"),
        ("patient=1&nonsense=1", "nonsense"),
    ):
        answer = await fhir.get(f"/DocumentReference/$docref?{query}")
        assert (answer.status_code, answer.json()["issue"][0]["expression"]) == (400, [f"http.{name}"]), query


async def test_it_shows_what_the_token_may_search(fhir: Client, other: Client) -> None:
    who, stranger = await patient(fhir), await patient(fhir)
    mine, theirs = await document(fhir, who, "2024-05-01"), await document(fhir, stranger, "2024-05-01")
    token = await fhir.token("patient/*.rs", patient=who)
    assert ids(await fhir.get("/DocumentReference/$docref", token=token)) == [mine]
    for query in (f"patient={stranger}", f"patient={stranger}&start=2020"):
        assert ids(await fhir.get(f"/DocumentReference/$docref?{query}", token=token)) == []
        assert ids(await other.get(f"/DocumentReference/$docref?{query}")) == []
        assert ids(await fhir.get(f"/DocumentReference/$docref?{query}")) == [theirs]
    blind = await fhir.token("system/Patient.rs")
    for query in (f"patient={who}", f"patient={who}&start=2020", f"patient={who}&on-demand=true"):
        assert (await fhir.get(f"/DocumentReference/$docref?{query}", token=blind)).status_code == 403
