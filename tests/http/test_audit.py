"""Who saw what: docs/audit.md says what is recorded; every row is there before the answer that it tells of leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import psycopg
import pytest

from conformance.r4.types import TYPE_CODES
from fhir_server.store import tenants
from fhir_server.store.embedded import EmbeddedPostgres
from tests.fhir import Client, running

PATIENT = {"resourceType": "Patient", "name": [{"family": "Canary"}]}
COLUMNS = ("action", "subject", "client", "type", "resource_id", "version", "outcome", "patient", "token", "query",
           "detail")  # fmt: skip


async def trail(client: Client, *actions: str) -> list[dict[str, Any]]:
    """Return the rows of the tenant's audit, oldest first; of these actions alone where some are named."""
    sql = f"select {', '.join(COLUMNS)} from audit where tenant_id = %s order by id"
    rows = await client.concord.db.fetch(client.tenant_id, sql, (client.tenant_id,))
    told = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    return [row for row in told if not actions or row["action"] in actions]


def key(client: Client, patient: str) -> int:
    return client.concord.service.hasher.self_key(client.tenant_id, "Patient", patient)


async def made(client: Client, resource: dict[str, Any]) -> str:
    answer = await client.post(f"/{resource['resourceType']}", json=resource)
    assert answer.status_code == 201, answer.text
    name: str = answer.json()["id"]
    return name


def of(patient: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "pulse"},
        "subject": {"reference": f"Patient/{patient}"},
        **more,
    }


async def test_a_read_tells_who_saw_which_version_of_whose_by_which_token(fhir: Client) -> None:
    patient = await made(fhir, PATIENT)
    assert (await fhir.get(f"/Patient/{patient}")).status_code == 200
    (row,) = await trail(fhir, "read")
    assert (row["subject"], row["client"], row["outcome"]) == ("tester", "tests", 200)
    assert (row["type"], row["resource_id"], row["version"]) == (TYPE_CODES["Patient"], patient, 1)
    assert row["patient"] == key(fhir, patient)
    assert row["token"]


async def test_a_write_tells_whose_data_it_was_and_whose_it_was_before(fhir: Client) -> None:
    first, second = [await made(fhir, PATIENT) for _ in range(2)]
    observation = await made(fhir, of(first))
    moved = of(second, id=observation)
    assert (await fhir.put(f"/Observation/{observation}", json=moved)).status_code == 200
    assert {row["patient"] for row in await trail(fhir, "update")} == {key(fhir, first), key(fhir, second)}
    assert (await fhir.delete(f"/Observation/{observation}")).status_code == 204
    assert [row["patient"] for row in await trail(fhir, "delete")] == [key(fhir, second)]


async def test_an_update_that_changes_nothing_shows_the_resource_and_is_a_read(fhir: Client) -> None:
    patient = await made(fhir, PATIENT)
    same = {**PATIENT, "id": patient}
    assert (await fhir.put(f"/Patient/{patient}", json=same)).json()["meta"]["versionId"] == "1"
    assert [(row["action"], row["patient"]) for row in await trail(fhir)][1:] == [("read", key(fhir, patient))]


async def test_a_search_leaves_a_row_for_each_patient_seen_with_the_request_as_it_came(fhir: Client) -> None:
    first, second = [await made(fhir, PATIENT) for _ in range(2)]
    for patient in (first, first, second):
        await made(fhir, of(patient))
    asked = "/Observation?code:text=pu%6Cse&_count=3"
    assert len((await fhir.get(asked)).json()["entry"]) == 3
    rows = await trail(fhir, "search-type")
    assert {row["patient"] for row in rows} == {key(fhir, first), key(fhir, second)}
    assert len(rows) == 2
    assert {row["query"] for row in rows} == {f"GET /{fhir.tenant}/fhir{asked}".encode()}


async def test_what_is_included_is_seen_as_well(fhir: Client) -> None:
    first, second = [await made(fhir, PATIENT) for _ in range(2)]
    group = {"resourceType": "Group", "type": "person", "actual": True}
    members = [{"entity": {"reference": f"Patient/{name}"}} for name in (first, second)]
    await made(fhir, {**group, "member": members})
    assert len((await fhir.get("/Group?_include=Group:member")).json()["entry"]) == 3
    assert {row["patient"] for row in await trail(fhir, "search-type")} == {key(fhir, first), key(fhir, second)}


async def test_a_search_that_finds_nothing_is_told_too_and_so_is_its_form(fhir: Client) -> None:
    form = {"family": "Nobody"}
    answer = await fhir.post("/Patient/_search", data=form)
    assert answer.json().get("entry", []) == []
    (row,) = await trail(fhir, "search-type")
    assert row["patient"] is None
    assert row["query"] == f"POST /{fhir.tenant}/fhir/Patient/_search\r\n\r\nfamily=Nobody".encode()


async def test_an_old_version_is_seen_of_the_patient_whose_it_was(fhir: Client) -> None:
    wrong, right = [await made(fhir, PATIENT) for _ in range(2)]
    observation = await made(fhir, of(wrong))
    await fhir.put(f"/Observation/{observation}", json=of(right, id=observation))
    both = {key(fhir, wrong), key(fhir, right)}
    assert (await fhir.get(f"/Observation/{observation}/_history/1")).status_code == 200
    assert {row["patient"] for row in await trail(fhir, "vread")} == both
    assert (await fhir.get(f"/Observation/{observation}/_history")).status_code == 200
    assert {row["patient"] for row in await trail(fhir, "history-instance")} == both


@pytest.mark.parametrize("operation", ["$everything", "$lastn", "$meta"])
async def test_an_operation_tells_whose_data_it_showed(fhir: Client, operation: str) -> None:
    patient = await made(fhir, PATIENT)
    await made(fhir, of(patient, category=[{"text": "x"}], effectiveDateTime="2026-01-01"))
    path = f"/Observation/$lastn?patient={patient}&code:text=pulse" if operation == "$lastn" else ""
    assert (await fhir.get(path or f"/Patient/{patient}/{operation}")).status_code == 200
    assert [row["patient"] for row in await trail(fhir, operation)] == [key(fhir, patient)]


@pytest.mark.parametrize(
    ("path", "scope", "status"),
    [
        ("/Patient/nobody", "system/*.cruds", 404),
        ("/Patient/{id}", "system/Observation.rs", 403),
        ("/Patient?name=x", "system/Patient.r", 403),
        ("/Patient?name:unheard=x%00", "system/*.cruds", 400),
        ("/Nothing", "system/*.cruds", 404),
        ("/Patient/{id}", None, 401),
    ],
)
async def test_a_refusal_is_told_with_its_reason(fhir: Client, path: str, scope: str | None, status: int) -> None:
    patient = await made(fhir, PATIENT)
    token = await fhir.token(scope) if scope else None
    answer = await fhir.get(path.format(id=patient), token=token)
    assert answer.status_code == status
    row = (await trail(fhir))[-1]
    assert (row["outcome"], row["patient"]) == (status, None)
    assert row["subject"] == ("tester" if scope else None)
    # PostgreSQL's texts hold no NUL.
    assert row["detail"]["outcome"] == answer.json()["issue"][0]["diagnostics"].replace(
        "\0", "\N{REPLACEMENT CHARACTER}"
    )
    assert row["query"].endswith(path.format(id=patient).encode())


async def test_a_refused_write_leaves_the_refusal_alone(fhir: Client) -> None:
    assert (await fhir.post("/Patient", json={"resourceType": "Patient", "unheard": 1})).status_code == 400
    assert [(row["action"], row["outcome"]) for row in await trail(fhir)] == [("create", 400)]


async def test_another_tenants_token_is_told_where_it_was_used(fhir: Client, other: Client) -> None:
    wrong = await other.token("system/*.cruds")
    assert (await fhir.get("/Patient", token=wrong)).status_code == 403
    assert [row["outcome"] for row in await trail(fhir)] == [403]
    assert await trail(other) == []


async def test_each_entry_of_a_batch_is_told(fhir: Client) -> None:
    patient = await made(fhir, PATIENT)
    urls = [f"Patient/{patient}", "Patient?family=Canary", "Patient/nobody"]
    entries = [{"request": {"method": "GET", "url": url}} for url in urls]
    answer = await fhir.post("/", json={"resourceType": "Bundle", "type": "batch", "entry": entries})
    assert answer.status_code == 200
    told = [(row["action"], row["outcome"], row["patient"]) for row in await trail(fhir)][1:]
    whose = key(fhir, patient)
    assert told == [("read", 200, whose), ("search-type", 200, whose), ("read", 404, None)]


async def test_the_content_of_a_binary_is_told_before_its_first_byte(fhir: Client) -> None:
    answer = await fhir.post("/Binary", content=b"picture", headers={"content-type": "image/png"})
    name = answer.headers["location"].split("/")[-3]
    found = await fhir.get(f"/Binary/{name}", headers={"accept": "image/png"})
    assert found.content == b"picture"
    assert [(row["resource_id"], row["outcome"]) for row in await trail(fhir, "read")] == [(name, 200)]
    assert (await fhir.get("/Binary/nothing", headers={"accept": "image/png"})).status_code == 404
    assert (await trail(fhir))[-1]["outcome"] == 404


async def test_reads_of_two_tenants_at_once_leave_a_row_each_in_their_own_tenant(fhir: Client, other: Client) -> None:
    mine, theirs = await made(fhir, PATIENT), await made(other, PATIENT)
    reads = [client.get(f"/Patient/{name}") for client, name in ((fhir, mine), (other, theirs)) for _ in range(40)]
    assert {answer.status_code for answer in await asyncio.gather(*reads)} == {200}
    for client, name in ((fhir, mine), (other, theirs)):
        assert [row["resource_id"] for row in await trail(client, "read")] == [name] * 40


async def test_nothing_is_shown_that_cannot_be_audited(postgres: EmbeddedPostgres, fresh_name: str) -> None:
    async with running(postgres.server_dsn(fresh_name)) as (concord, clock), httpx.AsyncClient(timeout=30) as http:
        fhir = Client(concord, clock, await tenants.add(concord.db, "clinic"), http)
        patient = await made(fhir, PATIENT)
        with psycopg.connect(postgres.admin_dsn(fresh_name), autocommit=True) as admin:
            admin.execute("revoke insert on audit from concord_server")
            for path in (f"/Patient/{patient}", "/Patient", f"/Patient/{patient}/_history"):
                answer = await fhir.get(path)
                assert answer.status_code == 503, path
                assert "Canary" not in answer.text
            assert (await fhir.get(f"/Patient/{patient}", token=None)).status_code == 503
            admin.execute("grant insert on audit to concord_server")
        assert (await fhir.get(f"/Patient/{patient}")).status_code == 200


async def test_the_servers_role_can_neither_change_nor_remove_what_was_recorded(fhir: Client) -> None:
    await made(fhir, PATIENT)
    for statement in ("update audit set outcome = 200", "delete from audit", "truncate audit"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await fhir.concord.db.fetch(fhir.tenant_id, statement)


async def test_the_clinics_api_is_audited_and_shows_nothing_that_cannot_be(
    postgres: EmbeddedPostgres, fresh_name: str
) -> None:
    async with running(postgres.server_dsn(fresh_name)) as (concord, clock), httpx.AsyncClient(timeout=30) as http:
        fhir = Client(concord, clock, await tenants.add(concord.db, "clinic"), http)
        api = fhir.base.removesuffix("/fhir") + "/api"
        headers = {"authorization": f"Bearer {await fhir.token('system/*.rs')}"}
        assert (await http.get(f"{api}/messages?limit=5", headers=headers)).status_code == 200
        assert (await http.get(f"{api}/messages")).status_code == 401
        assert (await http.get(f"{api}/channels", headers=headers)).status_code == 200
        told = [(row["action"], row["outcome"], row["subject"], row["query"]) for row in await trail(fhir)]
        asked = b"GET /clinic/api/messages"
        assert told == [
            ("api", 200, "tester", asked + b"?limit=5"),
            ("api", 401, None, asked),
            ("api", 200, "tester", b"GET /clinic/api/channels"),
        ]
        with psycopg.connect(postgres.admin_dsn(fresh_name), autocommit=True) as admin:
            admin.execute("revoke insert on audit from concord_server")
        answer = await http.get(f"{api}/messages/counts", headers=headers)
        assert (answer.status_code, answer.json()["resourceType"]) == (503, "OperationOutcome")
