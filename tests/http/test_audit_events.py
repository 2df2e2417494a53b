"""AuditEvents are made from the audit's rows: who saw my record, who did what, read and searched and never written."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest

from conformance.structures import decode
from fhir_server.context import Role
from tests.fhir import Client
from tests.http.test_audit import PATIENT, made, of
from tests.people import member, token_of

BALP = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."


async def events(client: Client, query: str = "", **more: Any) -> list[dict[str, Any]]:
    """Return the AuditEvents that a search finds, all pages of it."""
    path: str | None = f"/AuditEvent?{query}"
    found: list[dict[str, Any]] = []
    while path:
        answer = await client.get(path, **more)
        assert answer.status_code == 200, answer.text
        bundle = answer.json()
        found += [entry["resource"] for entry in bundle.get("entry", [])]
        following = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
        path = following[0].removeprefix(client.base) if following else None
    return found


def agent(event: dict[str, Any], code: str) -> dict[str, Any]:
    (found,) = [one for one in event["agent"] if one["type"]["coding"][0]["code"] == code]
    return dict(found)


def entities(event: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one.get("role", one["type"])["code"]: one for one in event["entity"]}


async def test_a_read_is_told_as_balp_says(fhir: Client) -> None:
    patient = await made(fhir, PATIENT)
    await fhir.get(f"/Patient/{patient}", headers={"x-request-id": "cc6d168e"})
    (event,) = await events(fhir, f"patient={patient}&subtype=read")
    decode("AuditEvent", json.dumps(event).encode())
    assert event["meta"]["profile"] == [f"{BALP}PatientRead"]
    assert (event["type"]["code"], event["action"], event["outcome"]) == ("rest", "R", "0")
    assert [one["code"] for one in event["subtype"]] == ["read"]
    client, server = agent(event, "110152"), agent(event, "110153")
    assert client["who"] == {"identifier": {"value": "tests"}}
    assert client["network"] == {"address": "127.0.0.1", "type": "2"}
    assert client["policy"][0].startswith("urn:ietf:params:oauth:jti:")
    assert server["network"]["address"] == fhir.base
    user = agent(event, "IRCP")
    assert (user["altId"], user["requestor"]) == ("tester", True)
    told = entities(event)
    assert told["1"]["what"]["reference"] == f"Patient/{patient}"
    assert told["4"]["what"]["reference"] == f"Patient/{patient}/_history/1"
    assert told["XrequestId"]["what"]["identifier"]["value"] == "cc6d168e"


async def test_a_query_is_told_with_its_request_and_roles_the_other_way_round(fhir: Client) -> None:
    patient = await made(fhir, PATIENT)
    await fhir.get("/Patient?family=C%61nary")
    (event,) = await events(fhir, f"patient=Patient/{patient}&subtype=search-type&entity=Patient/{patient}&_count=1")
    assert event["meta"]["profile"] == [f"{BALP}PatientQuery"]
    assert (event["action"], [one["code"] for one in event["subtype"]]) == ("E", ["search", "search-type"])
    assert agent(event, "110153")["who"] == {"identifier": {"value": "tests"}}
    query = entities(event)["24"]
    assert base64.b64decode(query["query"]) == f"GET /{fhir.tenant}/fhir/Patient?family=C%61nary".encode()
    assert query["description"].endswith("Patient?family=C%61nary")


async def test_a_delete_and_a_refusal_are_told(fhir: Client) -> None:
    patient = await made(fhir, PATIENT)
    await fhir.delete(f"/Patient/{patient}")
    assert (await fhir.get("/Patient/nobody")).status_code == 404
    (deleted,) = await events(fhir, "action=D")
    assert deleted["meta"]["profile"] == [f"{BALP}PatientDelete"]
    assert {one["type"]["coding"][0]["code"] for one in deleted["agent"]} == {"110150", "custodian", "IRCP"}
    (refused,) = await events(fhir, "outcome=4&entity=Patient/nobody")
    assert "profile" not in refused["meta"]
    assert refused["outcomeDesc"] == "Patient/nobody is not known"


async def test_who_saw_a_record_is_found_newest_first_in_pages_that_end(fhir: Client) -> None:
    patient, other = [await made(fhir, PATIENT) for _ in range(2)]
    for _ in range(5):
        await fhir.get(f"/Patient/{patient}")
    await fhir.get(f"/Patient/{other}")
    found = await events(fhir, f"patient={patient}&subtype=read&_count=2")
    assert len(found) == 5
    assert [one["recorded"] for one in found] == sorted([one["recorded"] for one in found], reverse=True)
    again = await events(fhir, f"patient={patient}&subtype=read&_sort=date&_count=3")
    assert [one["id"] for one in again] == [one["id"] for one in found][::-1]
    compartment = await fhir.get(f"/Patient/{patient}/AuditEvent?subtype=read&_summary=count")
    assert compartment.json()["total"] == 5
    for event in found:
        assert (await fhir.get(f"/AuditEvent/{event['id']}")).json() == event


async def test_it_is_found_by_time_agent_token_and_kind(fhir: Client) -> None:
    patient = await made(fhir, PATIENT)
    await fhir.get(f"/Patient/{patient}", token=await fhir.token("system/*.rs", subject="somebody"))
    fhir.clock.move(timedelta(days=2))
    late = fhir.clock()
    token = await fhir.token("system/*.cruds", subject="else")
    await fhir.get(f"/Patient/{patient}", token=token)
    for query, number in {
        "subtype=read": 2,
        "altid=somebody": 1,
        "altid=somebody,else&subtype=read": 2,
        f"date=ge{late.date()}&subtype=read": 1,
        f"date=lt{late.date()}": 2,
        f"_lastUpdated=eq{late.date()}&subtype=read": 1,
        "action=C": 1,
        "action=R": 2,
        "type=rest&action=C": 1,
        "type=110100": 0,
        "address=127.0.0.1&subtype=read": 2,
        "outcome=8": 0,
        "agent-name=nobody": 0,
        "agent=Practitioner/none": 0,
    }.items():
        assert len(await events(fhir, query, token=token)) == number, query
    (event,) = await events(fhir, "altid=else&subtype=read", token=token)
    jti = agent(event, "110152")["policy"][0]
    assert {agent(one, "IRCP")["altId"] for one in await events(fhir, f"policy={jti}&subtype=read", token=token)} == {
        "else"
    }


@pytest.mark.parametrize(
    "query",
    ["code=x", "date=yesterday", "patient=Observation/1", "entity=x", "_sort=agent", "_count=0", "_cursor=x",
     "patient=", "_include=AuditEvent:patient", "patient.name=x", "_has:Observation:subject:code=x"],
)  # fmt: skip
async def test_what_cannot_be_asked_is_refused_by_name(fhir: Client, query: str) -> None:
    answer = await fhir.get(f"/AuditEvent?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0].partition(":")[0] in answer.text


async def test_a_lenient_client_is_answered_without_what_is_not_known(fhir: Client) -> None:
    answer = await fhir.get("/AuditEvent?code=x", headers={"prefer": "handling=lenient"})
    assert answer.status_code == 200
    assert "code=x" not in answer.json()["link"][0]["url"]


async def test_a_page_token_is_good_for_its_search_alone(fhir: Client) -> None:
    patient = await made(fhir, PATIENT)
    for _ in range(2):
        await fhir.get(f"/Patient/{patient}")
    links = (await fhir.get(f"/AuditEvent?patient={patient}&_count=1")).json()["link"]
    following = next(link["url"] for link in links if link["relation"] == "next").removeprefix(fhir.base)
    assert (await fhir.get(following)).status_code == 200
    assert (await fhir.get(following.replace(patient, "other"))).status_code == 400
    other = await fhir.token("system/*.rs", subject="other")
    assert (await fhir.get(following, token=other)).status_code == 400


# ---- who may ----------------------------------------------------------------------------------------------------


async def test_a_tenant_sees_its_own_alone(fhir: Client, other: Client) -> None:
    patient = await made(fhir, PATIENT)
    await fhir.get(f"/Patient/{patient}")
    (event,) = await events(fhir, "subtype=read")
    assert await events(other, "subtype=read") == []
    assert (await other.get(f"/AuditEvent/{event['id']}")).status_code == 404


async def test_a_patients_token_sees_that_patients_alone(fhir: Client) -> None:
    mine, theirs = [await made(fhir, PATIENT) for _ in range(2)]
    for name in (mine, theirs):
        await fhir.get(f"/Patient/{name}")
    token = await fhir.token("patient/AuditEvent.rs", patient=mine)
    seen = await events(fhir, "subtype=read", token=token)
    assert [entities(one)["1"]["what"]["reference"] for one in seen] == [f"Patient/{mine}"]
    assert await events(fhir, f"patient={theirs}", token=token) == []
    (other,) = await events(fhir, f"patient={theirs}&subtype=read")
    assert (await fhir.get(f"/AuditEvent/{other['id']}", token=token)).status_code == 404
    assert (await fhir.get("/AuditEvent", token=await fhir.token("patient/*.r", patient=mine))).status_code == 403


async def test_roles_see_all_those_in_care_their_own_or_none(fhir: Client) -> None:
    cared, other = [await made(fhir, PATIENT) for _ in range(2)]
    hasher, tenant = fhir.concord.service.hasher, fhir.tenant_id
    keys = [hasher.self_key(tenant, *place) for place in (("Practitioner", "p1"), ("Patient", cared))]
    sql = (
        "insert into care_relation (tenant_id, member, patient, kind, valid_from, source)"
        " values (%s, %s, %s, 'assigned', %s, 1)"
    )
    await fhir.concord.db.fetch(tenant, sql, (tenant, *keys, fhir.clock() - timedelta(days=1)))
    for name in (cared, other):
        await fhir.get(f"/Patient/{name}")
    admin, doctor, attorney, biller = [
        await token_of(fhir, await member(fhir, role, reference), "user/*.rs") for role, reference in _MEMBERS
    ]
    seen = await events(fhir, "subtype=read", token=admin)
    assert {entities(one)["1"]["what"]["reference"] for one in seen} == {f"Patient/{cared}", f"Patient/{other}"}
    (one,) = await events(fhir, "subtype=read", token=doctor)
    assert entities(one)["1"]["what"]["reference"] == f"Patient/{cared}"
    assert (await fhir.get(f"/AuditEvent/{one['id']}", token=attorney)).status_code == 404
    assert (await fhir.get("/Patient/none", token=attorney)).status_code == 404
    (own, *rest) = await events(fhir, "outcome=4", token=attorney)
    assert agent(own, "IRCP")["name"] == "A attorney"
    assert {agent(one, "IRCP")["name"] for one in rest} == {"A attorney"}
    assert (await fhir.get("/AuditEvent", token=biller)).status_code == 403
    (named,) = await events(fhir, "agent=Practitioner/p1&subtype=search", token=admin)
    assert agent(named, "IRCP")["who"]["reference"] == "Practitioner/p1"


_MEMBERS: tuple[tuple[Role, str | None], ...] = (
    ("clinic-admin", None),
    ("physician", "Practitioner/p1"),
    ("attorney", None),
    ("biller", None),
)


async def test_looking_at_the_audit_is_audited(fhir: Client) -> None:
    patient = await made(fhir, PATIENT)
    await events(fhir, f"patient={patient}")
    looked = await events(fhir, f"patient={patient}&subtype=search")
    assert [entities(one)["24"]["description"].partition("?")[2] for one in looked] == [f"patient={patient}"]


# ---- nobody writes ----------------------------------------------------------------------------------------------

EVENT = {
    "resourceType": "AuditEvent",
    "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"},
    "recorded": "2026-01-01T00:00:00Z",
    "agent": [{"requestor": True}],
    "source": {"observer": {"display": "x"}},
}


async def test_nobody_writes_one(fhir: Client) -> None:
    await fhir.get("/Patient/nobody")
    (real, *_) = await events(fhir, "outcome=4")
    place = f"/AuditEvent/{real['id']}"
    patch = [{"op": "replace", "path": "/outcome", "value": "0"}]
    for method, path, body in (
        ("POST", "/AuditEvent", EVENT),
        ("PUT", "/AuditEvent/made", {**EVENT, "id": "made"}),
        ("PUT", place, {**real, "outcome": "0"}),
        ("PUT", "/AuditEvent?outcome=4", EVENT),
        ("PATCH", place, patch),
        ("PATCH", "/AuditEvent?outcome=4", patch),
        ("DELETE", place, None),
        ("DELETE", "/AuditEvent?outcome=4", None),
        ("POST", f"{place}/$meta-add", {"resourceType": "Parameters"}),
    ):
        headers = {"content-type": "application/json-patch+json"} if method == "PATCH" else {}
        answer = await fhir.request(method, path, json=body, headers=headers)
        assert answer.status_code == 405, (method, path)
    conditional = await fhir.post("/AuditEvent", json=EVENT, headers={"if-none-exist": "outcome=4"})
    assert conditional.status_code == 405
    assert (await fhir.get(place)).json() == real


@pytest.mark.parametrize("kind", ["batch", "transaction"])
async def test_no_bundle_writes_one(fhir: Client, kind: str) -> None:
    entries = [{"resource": EVENT, "request": {"method": "POST", "url": "AuditEvent"}}]
    answer = await fhir.post("/", json={"resourceType": "Bundle", "type": kind, "entry": entries})
    if kind == "batch":
        assert answer.json()["entry"][0]["response"]["status"] == "405"
    else:
        assert answer.status_code == 405
    assert await events(fhir, "action=C") == []


async def test_the_capability_statement_says_so(fhir: Client) -> None:
    resources = (await fhir.get("/metadata")).json()["rest"][0]["resource"]
    told = next(one for one in resources if one["type"] == "AuditEvent")
    assert {one["code"] for one in told["interaction"]} == {"read", "search-type"}
    assert {"patient", "date", "agent", "entity", "outcome"} <= {one["name"] for one in told["searchParam"]}
    assert "conditionalCreate" not in told
    patient = next(one for one in resources if one["type"] == "Patient")
    assert not [name for name in patient["searchRevInclude"] if name.startswith("AuditEvent:")]


async def test_what_was_seen_of_another_resource_of_a_patient_is_found_too(fhir: Client) -> None:
    patient = await made(fhir, PATIENT)
    observation = await made(fhir, of(patient))
    await fhir.get(f"/Observation/{observation}")
    (event,) = await events(fhir, f"patient={patient}&subtype=read")
    assert entities(event)["4"]["what"]["reference"] == f"Observation/{observation}/_history/1"
    assert (await fhir.get("/?_type=AuditEvent")).status_code == 400
