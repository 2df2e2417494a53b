"""Who may: tokens, scopes and the wall between tenants. docs/security.md lists the statuses."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import jwt as pyjwt
import pytest

from tests.fhir import Client

PATIENT = {"resourceType": "Patient", "name": [{"family": "Canary"}]}


async def test_without_a_token_is_401_and_names_the_scheme(fhir: Client) -> None:
    answer = await fhir.get("/Patient/x", token=None)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["resourceType"] == "OperationOutcome"


async def test_metadata_needs_no_token_and_tells_what_is_there(fhir: Client) -> None:
    answer = await fhir.get("/metadata", token=None)
    assert answer.status_code == 200
    statement = answer.json()
    assert (statement["resourceType"], statement["fhirVersion"]) == ("CapabilityStatement", "4.0.1")
    patient = next(r for r in statement["rest"][0]["resource"] if r["type"] == "Patient")
    codes = {i["code"] for i in patient["interaction"]}
    assert codes >= {"read", "vread", "update", "patch", "delete", "create", "search-type"}
    assert codes >= {"history-instance", "history-type"}
    assert {"name": "birthdate", "type": "date"} in patient["searchParam"]
    assert statement["implementation"]["url"] == fhir.base


@pytest.mark.parametrize("token", ["x", "a.b.c", "Bearer", "." * 10, "e30.e30.e30", "x" * 20_000])
async def test_a_malformed_token_is_401(fhir: Client, token: str) -> None:
    assert (await fhir.get("/Patient/x", token=token)).status_code == 401


async def test_a_token_that_expired_is_401_even_if_it_was_seen_before(fhir: Client) -> None:
    token = await fhir.token("system/*.cruds", lifetime=timedelta(seconds=30))
    assert (await fhir.get("/Patient", token=token)).status_code == 200
    fhir.clock.move(timedelta(seconds=31))
    assert (await fhir.get("/Patient", token=token)).status_code == 401


async def test_a_changed_claim_breaks_the_token(fhir: Client) -> None:
    head, body, signature = (await fhir.token("patient/Patient.rs")).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["scope"] = "system/*.cruds"
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    assert (await fhir.get("/Patient", token=f"{head}.{forged}.{signature}")).status_code == 401


async def test_a_token_signed_by_no_key_of_ours_is_401(fhir: Client) -> None:
    genuine = await fhir.token("system/*.cruds")
    header = pyjwt.get_unverified_header(genuine)
    claims = pyjwt.decode(genuine, options={"verify_signature": False})
    none = pyjwt.encode(claims, None, algorithm="none", headers={"kid": header["kid"]})
    shared = pyjwt.encode(claims, "k" * 64, algorithm="HS256", headers={"kid": header["kid"]})
    for token in (none, shared):
        assert (await fhir.get("/Patient", token=token)).status_code == 401


async def test_another_tenants_token_is_403_and_sees_nothing(fhir: Client, other: Client) -> None:
    made = (await other.post("/Patient", json=PATIENT)).json()
    wrong = await fhir.token("system/*.cruds")
    for path in (f"/Patient/{made['id']}", "/Patient", f"/Patient/{made['id']}/_history"):
        answer = await other.get(path, token=wrong)
        assert answer.status_code == 403, path
        assert "Canary" not in answer.text


async def test_a_tenant_sees_nothing_of_another(fhir: Client, other: Client) -> None:
    made = (await other.post("/Patient", json=PATIENT)).json()
    name = made["id"]
    assert (await fhir.get(f"/Patient/{name}")).status_code == 404
    assert (await fhir.get(f"/Patient/{name}/_history")).status_code == 404
    assert (await fhir.get(f"/Patient/{name}/_history/1")).status_code == 404
    for query in ("", "?family=Canary", f"?_id={name}"):
        assert "entry" not in (await fhir.get(f"/Patient{query}")).json()
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"request": {"method": "GET", "url": f"Patient/{name}"}}],
    }
    answer = await fhir.post("", json=bundle)
    assert (
        answer.json()["entry"][0]["response"]["status"] == "404"
        if answer.status_code == 200
        else answer.status_code == 404
    )
    # The same id in two tenants is two resources.
    await fhir.put(f"/Patient/{name}", json={"resourceType": "Patient", "id": name, "active": True})
    assert (await other.get(f"/Patient/{name}")).json() == made


async def test_an_unknown_tenant_is_404_whatever_the_token(fhir: Client) -> None:
    address = fhir.base.replace(f"/{fhir.tenant}/", "/nobody/")
    assert (await fhir.http.get(f"{address}/Patient")).status_code == 404


async def test_a_scope_that_lacks_the_type_or_the_interaction_is_403(fhir: Client) -> None:
    made = (await fhir.post("/Patient", json=PATIENT)).json()
    reader = await fhir.token("system/Patient.r")
    assert (await fhir.get(f"/Patient/{made['id']}", token=reader)).status_code == 200
    assert (await fhir.get("/Patient", token=reader)).status_code == 403
    assert (await fhir.get("/Observation/x", token=reader)).status_code == 403
    assert (await fhir.post("/Patient", json=PATIENT, token=reader)).status_code == 403
    assert (await fhir.delete(f"/Patient/{made['id']}", token=reader)).status_code == 403
    writer = await fhir.token("system/Patient.c")
    assert (await fhir.put("/Patient/new", json=PATIENT | {"id": "new"}, token=writer)).status_code == 403


async def test_a_patient_token_sees_its_own_record_alone(fhir: Client) -> None:
    names = []
    for _ in range(2):
        patient = (await fhir.post("/Patient", json=PATIENT)).json()["id"]
        result = {
            "resourceType": "Observation",
            "status": "final",
            "code": {"text": "x"},
            "subject": {"reference": f"Patient/{patient}"},
        }
        names.append((patient, (await fhir.post("/Observation", json=result)).json()["id"]))
    (mine, my_result), (theirs, their_result) = names
    token = await fhir.token("patient/*.cruds", patient=mine)
    assert (await fhir.get(f"/Patient/{mine}", token=token)).status_code == 200
    assert (await fhir.get(f"/Observation/{my_result}", token=token)).status_code == 200
    for path in (f"/Patient/{theirs}", f"/Observation/{their_result}", f"/Observation/{their_result}/_history"):
        assert (await fhir.get(path, token=token)).status_code == 404, path
    found = (await fhir.get("/Observation?_total=accurate", token=token)).json()
    assert ([e["resource"]["id"] for e in found["entry"]], found["total"]) == ([my_result], 1)
    foreign = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": f"Patient/{theirs}"},
    }
    assert (await fhir.post("/Observation", json=foreign, token=token)).status_code == 403
    stolen = foreign | {"id": their_result, "subject": {"reference": f"Patient/{mine}"}}
    assert (await fhir.put(f"/Observation/{their_result}", json=stolen, token=token)).status_code == 404
    assert (await fhir.delete(f"/Observation/{their_result}", token=token)).status_code == 404
    moved = foreign | {"id": my_result}
    assert (await fhir.put(f"/Observation/{my_result}", json=moved, token=token)).status_code == 403


async def test_the_host_header_changes_no_link(fhir: Client) -> None:
    answer = await fhir.post(
        "/Patient", json=PATIENT, headers={"host": "evil.example", "x-forwarded-host": "evil.example"}
    )
    assert answer.headers["location"].startswith(fhir.base)
    assert "evil" not in (await fhir.get("/Patient", headers={"host": "evil.example"})).text


@pytest.mark.parametrize("path", ["/%2e%2e/other", "//", "/Patient/%00", "/Patient/..%2f..%2fx", "/Patient//x", "/%ff"])
async def test_odd_paths_are_a_clients_fault(fhir: Client, path: str) -> None:
    answer = await fhir.get(path)
    assert 400 <= answer.status_code < 500
