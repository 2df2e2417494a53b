"""batch and transaction. http://hl7.org/fhir/R4/http.html#transaction"""

from __future__ import annotations

from typing import Any

from tests.fhir import Client


def bundle(kind: str, *entries: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def post(resource: dict[str, Any], url: str | None = None) -> dict[str, Any]:
    entry = {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}
    return entry | ({"fullUrl": url} if url else {})


URL = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"
PATIENT = {"resourceType": "Patient", "identifier": [{"system": "urn:ietf:rfc:3986", "value": URL}]}
OBSERVATION = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": {"reference": URL}}


async def test_a_transaction_turns_urn_uuid_references_into_the_ids_it_gave(fhir: Client) -> None:
    answer = await fhir.post("", json=bundle("transaction", post(OBSERVATION), post(PATIENT, URL)))
    assert answer.status_code == 200, answer.text
    observation, patient = (e["response"]["location"].split("/fhir/")[1] for e in answer.json()["entry"])
    assert observation.startswith("Observation/")
    read = (await fhir.get("/" + observation.split("/_history")[0])).json()
    assert read["subject"]["reference"] == patient.split("/_history")[0]


async def test_an_identifier_that_equals_a_full_url_is_no_reference_and_stays(fhir: Client) -> None:
    answer = await fhir.post("", json=bundle("transaction", post(PATIENT, URL)))
    place = answer.json()["entry"][0]["response"]["location"].split("/fhir")[1].split("/_history")[0]
    assert (await fhir.get(place)).json()["identifier"][0]["value"] == URL


async def test_one_bad_entry_undoes_the_whole_transaction_and_is_named(fhir: Client) -> None:
    bad = {"resourceType": "Observation", "status": "final"}
    name = {"resourceType": "Patient", "id": "undone"}
    put = {"resource": name, "request": {"method": "PUT", "url": "Patient/undone"}}
    answer = await fhir.post("", json=bundle("transaction", put, post(bad)))
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == ["Bundle.entry[1].resource.code"]
    assert (await fhir.get("/Patient/undone")).status_code == 404


async def test_a_failed_if_match_undoes_the_whole_transaction(fhir: Client) -> None:
    put = {
        "resource": {"resourceType": "Patient", "id": "nobody"},
        "request": {"method": "PUT", "url": "Patient/nobody", "ifMatch": 'W/"3"'},
    }
    answer = await fhir.post(
        "", json=bundle("transaction", post({"resourceType": "Basic", "id": "b", "code": {"text": "c"}}), put)
    )
    assert answer.status_code == 412
    assert (await fhir.get("/Basic")).json().get("entry") is None


async def test_a_transaction_deletes_creates_updates_and_reads(fhir: Client) -> None:
    for name in ("old", "kept"):
        await fhir.put(f"/Patient/{name}", json={"resourceType": "Patient", "id": name})
    answer = await fhir.post(
        "",
        json=bundle(
            "transaction",
            {"request": {"method": "GET", "url": "Patient/kept"}},
            {
                "resource": {"resourceType": "Patient", "id": "kept", "active": True},
                "request": {"method": "PUT", "url": "Patient/kept"},
            },
            {"request": {"method": "DELETE", "url": "Patient/old"}},
            post({"resourceType": "Patient", "active": False}),
        ),
    )
    assert answer.status_code == 200, answer.text
    entries = answer.json()["entry"]
    assert [e["response"]["status"] for e in entries] == ["200", "200", "204", "201"]
    assert entries[0]["resource"]["active"] is True
    assert (await fhir.get("/Patient/old")).status_code == 410


async def test_a_resource_may_stand_only_once_in_a_transaction(fhir: Client) -> None:
    put = {"resource": {"resourceType": "Patient", "id": "a"}, "request": {"method": "PUT", "url": "Patient/a"}}
    answer = await fhir.post("", json=bundle("transaction", put, put))
    assert answer.status_code == 400
    assert "more than once" in answer.json()["issue"][0]["diagnostics"]


async def test_batch_entries_stand_or_fall_alone(fhir: Client) -> None:
    answer = await fhir.post(
        "",
        json=bundle(
            "batch",
            post({"resourceType": "Patient", "id": "x"}),
            post({"resourceType": "Observation", "status": "final"}),
            {"request": {"method": "GET", "url": "Patient/none"}},
            {"request": {"method": "GET", "url": "Patient?_count=1"}},
        ),
    )
    assert answer.status_code == 200
    entries = answer.json()["entry"]
    assert [e["response"]["status"] for e in entries] == ["201", "400", "404", "200"]
    assert entries[1]["response"]["outcome"]["issue"][0]["expression"] == ["Observation.code"]


async def test_other_bundles_and_broken_entries_are_refused(fhir: Client) -> None:
    assert (await fhir.post("", json=bundle("collection"))).status_code == 400
    assert (await fhir.post("", json={"resourceType": "Patient"})).status_code == 400
    no_request = await fhir.post("", json=bundle("transaction", {"resource": PATIENT}))
    assert no_request.status_code == 400
    away = {"request": {"method": "GET", "url": "http://elsewhere.example/Patient/1"}}
    assert (await fhir.post("", json=bundle("transaction", away))).status_code == 400


async def test_an_empty_transaction_is_answered_by_an_empty_one(fhir: Client) -> None:
    answer = await fhir.post("", json={"resourceType": "Bundle", "type": "transaction"})
    assert answer.status_code == 200
    assert answer.json()["type"] == "transaction-response"


async def test_each_entry_needs_its_own_permission(fhir: Client) -> None:
    await fhir.put("/Patient/p", json={"resourceType": "Patient", "id": "p"})
    token = await fhir.token("system/Patient.cru system/Basic.cru")
    basic = {"resourceType": "Basic", "code": {"text": "c"}}
    allowed, forbidden = post(basic), post({"resourceType": "Organization", "name": "Ward"})
    delete = {"request": {"method": "DELETE", "url": "Patient/p"}}
    search = {"request": {"method": "GET", "url": "Patient"}}
    for entry in (forbidden, delete):
        assert (await fhir.post("", json=bundle("transaction", allowed, entry), token=token)).status_code == 403
    told = (await fhir.post("", json=bundle("transaction", allowed, search), token=token)).json()["entry"]
    assert [e["response"]["status"][:3] for e in told] == ["201", "403"], "a read that fails is told in its own entry"
    told = (await fhir.post("", json=bundle("batch", allowed, forbidden, delete, search), token=token)).json()["entry"]
    assert [e["response"]["status"][:3] for e in told] == ["201", "403", "403", "403"]
    assert len((await fhir.get("/Basic")).json()["entry"]) == 2
    assert "entry" not in (await fhir.get("/Organization")).json()
    assert (await fhir.get("/Patient/p")).status_code == 200


async def test_one_full_url_names_one_entry(fhir: Client) -> None:
    url = "urn:uuid:7fd3bfa6-4c6a-4bb1-a7c6-7a8d4f7d1c1e"
    answer = await fhir.post("", json=bundle("transaction", post(PATIENT, url), post(PATIENT, url)))
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == ["Bundle.entry[1].fullUrl"]
    assert (await fhir.get("/Patient?_summary=count")).json()["total"] == 0


async def test_an_entry_may_ask_for_what_is_newer_than_an_instant(fhir: Client) -> None:
    place = (await fhir.post("/Patient", json=PATIENT)).json()["id"]
    asked = [
        {"request": {"method": "GET", "url": f"Patient/{place}", "ifModifiedSince": since}}
        for since in ("2000-01-01T00:00:00Z", "2999-01-01T00:00:00+01:00", "2999-12-31T23:59:60.5Z")
    ]
    answer = await fhir.post("", json=bundle("batch", *asked))
    assert [e["response"]["status"] for e in answer.json()["entry"]] == ["200", "304", "304"]
