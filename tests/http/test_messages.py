"""/{tenant}/api/messages: found by their fields, in pages, by those who may; who saw which is audited."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from fhir_server.app import jobs as jobs_of
from fhir_server.app import messages as worker_of
from fhir_server.context import Role, Tenant
from fhir_server.engine.channel import catch_all
from tests.engine.world import PEER, adt, receiver
from tests.fhir import Client
from tests.people import member


async def call(
    fhir: Client,
    path: str = "",
    method: str = "GET",
    *,
    scope: str = "system/*.cruds",
    subject: str = "tester",
    **more: Any,
) -> httpx.Response:
    """Send a request about messages of the client's clinic."""
    address = fhir.base.removesuffix("/fhir") + "/api/messages" + path
    headers = {"authorization": f"Bearer {await fhir.token(scope, subject=subject)}"} if scope else {}
    return await fhir.http.request(method, address, headers=headers, **more)


async def send(fhir: Client, *contents: bytes) -> None:
    """Have the clinic's channel take messages."""
    service = fhir.concord.service
    channel = catch_all(Tenant(fhir.tenant_id, fhir.tenant), "his")
    door = receiver(service.db, channel, hasher=service.hasher, clock=fhir.clock)
    for content in contents:
        await door.message(content, PEER)


async def test_messages_are_found_by_their_fields_in_pages(fhir: Client) -> None:
    await send(fhir, *(adt(f"A{n}", str(n % 2)) for n in range(5)))
    path, pages = "?patient=0&channel=his&type=ADT^A01&state=received&since=2020-01-01&limit=2", []
    while path:
        answer = await call(fhir, path)
        assert answer.status_code == 200, answer.text
        pages.append([row["control_id"] for row in answer.json()])
        link = answer.links.get("next", {}).get("url", "")
        path = link.partition("/api/messages")[2]
    assert pages == [["A4", "A2"], ["A0"]]
    (row,) = (await call(fhir, "?control_id=A3")).json()
    assert (row["patients"], row["channel"]) == (["NORTH|1"], "his")
    numbered = (await call(fhir, f"?before={row['id']}&limit=1")).json()
    assert [one["control_id"] for one in numbered] == ["A2"]


async def test_a_message_is_shown_whole_and_who_saw_whose_is_audited(fhir: Client) -> None:
    await send(fhir, adt("A1", "77"))
    await worker_of(fhir.concord).drain()
    (row,) = (await call(fhir, "?patient=77")).json()
    whole = (await call(fhir, f"/{row['id']}")).json()
    assert whole["text"].startswith("MSH|")
    assert "|77^^^NORTH" in whole["text"]
    assert whole["ack"].startswith("MSH|")
    name = next(name for name in whole["result"]["written"] if name.startswith("Patient/"))
    key = fhir.concord.service.hasher.self_key(fhir.tenant_id, "Patient", name.split("/")[1])
    sql = "select action, patient, detail from audit where action like 'message-%%' and subject = 'tester' order by id"
    told = await fhir.concord.db.fetch(fhir.tenant_id, sql)
    assert told == [(action, key, {"messages": [row["id"]]}) for action in ("message-list", "message-read")]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("?state=lost", 400),
        ("?before=x", 400),
        ("?before=999999999", 404),
        ("?since=yesterday", 400),
        ("?limit=0", 400),
        ("?patient=" + "9" * 400, 400),
        ("/999999999", 404),
        ("/x", 400),
    ],
)
async def test_what_cannot_be_asked_is_told(fhir: Client, path: str, status: int) -> None:
    answer = await call(fhir, path)
    assert (answer.status_code, answer.json()["resourceType"]) == (status, "OperationOutcome")


async def test_messages_of_another_clinic_are_not_there(fhir: Client, other: Client) -> None:
    await send(fhir, adt("A1"))
    (row,) = (await call(fhir)).json()
    assert (await call(other)).json() == []
    assert (await call(other, "?patient=100")).json() == []
    assert (await call(other, f"/{row['id']}")).status_code == 404
    assert (await call(other, f"?before={row['id']}")).status_code == 404
    assert (await call(other, f"/{row['id']}/replay", "POST")).status_code == 404


@pytest.mark.parametrize("scope", ["", "system/Patient.rs", "patient/*.rs"])
async def test_messages_need_a_token_that_reaches_every_kind_of_data(fhir: Client, scope: str) -> None:
    for path in ("", "/1"):
        assert (await call(fhir, path, scope=scope)).status_code == (403 if scope else 401)


@pytest.mark.parametrize("role", ["physician", "biller", "front-desk", "attorney", "super-admin"])
async def test_messages_are_for_administrators_whatever_the_scopes(fhir: Client, role: Role) -> None:
    person = await member(fhir, role)
    for path in ("", "?patient=100", "/1"):
        assert (await call(fhir, path, subject=person.sub, scope="user/*.cruds")).status_code == 403
    admin = await member(fhir, "clinic-admin")
    assert (await call(fhir, subject=admin.sub, scope="user/*.cruds")).json() == []


async def test_all_messages_of_a_search_are_processed_again_in_the_background(fhir: Client) -> None:
    await send(fhir, *(adt(f"A{n}", str(n % 2)) for n in range(5)))
    await worker_of(fhir.concord).drain()
    assert (await call(fhir, "/replay", "POST")).status_code == 400
    assert (await call(fhir, "/replay?patient=0", "POST", scope="system/*.rs")).status_code == 403
    assert (await call(fhir, "/replay?patient=0&state=done", "POST")).status_code == 202
    await jobs_of(fhir.concord).drain()
    (row,) = (await call(fhir, "/replays")).json()
    assert (row["state"], row["looked"], row["queued"]) == ("done", 3, 3)
    waiting = (await call(fhir, "?state=received")).json()
    assert [one["control_id"] for one in waiting] == ["A4", "A2", "A0"]
    sql = "select detail from audit where action = 'message-replay'"
    ((told,),) = await fhir.concord.db.fetch(fhir.tenant_id, sql)
    assert told["wanted"]["states"] == ["done"]
