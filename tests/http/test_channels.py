"""/{tenant}/api/channels: channels are read and changed over HTTP, by those who may."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from fhir_server.context import Role
from fhir_server.operations import channels
from fhir_server.operations.channels import Editor
from fhir_server.store import polls, tenants
from fhir_server.store.embedded import EmbeddedPostgres
from tests.fhir import NO_TLS, Client, running
from tests.people import member

LAB = {"name": "lab", "accepts": {"types": ["ORU^R01"], "senders": [["LAB", "NORTH"]]}}


@pytest.fixture
async def fhir(postgres: EmbeddedPostgres, fresh_name: str) -> AsyncIterator[Client]:
    """Return a client of an installation in which no other test has channels."""
    dsn = postgres.server_dsn(fresh_name)
    async with running(dsn) as (concord, clock), httpx.AsyncClient(timeout=30, verify=NO_TLS) as http:
        yield Client(concord, clock, await tenants.add(concord.db, "north"), http)


def peers(*networks: str) -> dict[str, Any]:
    """Return the source of senders at these addresses."""
    return {"source": {"kind": "mllp", "peers": networks}}


async def call(
    fhir: Client, method: str, path: str = "", *, scope: str = "system/*.cruds", subject: str = "tester", **more: Any
) -> httpx.Response:
    """Send a request to the channels of the client's clinic."""
    address = fhir.base.removesuffix("/fhir") + "/api/channels" + path
    headers = {"authorization": f"Bearer {await fhir.token(scope, subject=subject)}"} if scope else {}
    return await fhir.http.request(method, address, headers=headers, **more)


async def test_a_channel_is_saved_listed_promoted_and_paused(fhir: Client) -> None:
    assert (await call(fhir, "POST", json=LAB)).json() == {"name": "lab", "version": 1}
    changed = LAB | {"profile": {"zone": "America/Chicago"}}
    assert (await call(fhir, "POST", "?draft=true&note=zone", json=changed)).json() == {"name": "lab", "version": 2}
    (row,) = (await call(fhir, "GET")).json()
    assert (row["name"], row["state"], row["version"], row["definition"]) == ("lab", "running", 1, LAB)
    assert (await call(fhir, "POST", "/lab/versions/2/promote")).json() == {"name": "lab", "version": 2}
    assert (await call(fhir, "PUT", "/lab/state", json={"state": "paused"})).json() == {"state": "running"}
    (row,) = (await call(fhir, "GET")).json()
    assert (row["state"], row["version"]) == ("paused", 2)
    assert [v["note"] for v in (await call(fhir, "GET", "/lab/versions")).json()] == ["zone", None]


async def test_a_wrong_definition_gets_an_operation_outcome_that_names_the_element(fhir: Client) -> None:
    answer = await call(fhir, "POST", json=LAB | {"profile": {"zone": "Mars/Olympus"}})
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == ["Channel.profile.zone"]


async def test_a_port_that_channels_may_not_have_is_refused_by_name(fhir: Client) -> None:
    answer = await call(fhir, "POST", json=LAB | {"source": {"kind": "mllp", "port": 22}})
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == ["Channel.source.port"]
    assert (await call(fhir, "POST", json=LAB | {"source": {"kind": "mllp", "port": 2600}})).status_code == 200


@pytest.mark.parametrize(
    ("scope", "method", "status"),
    [
        ("", "GET", 401),
        ("system/Patient.rs", "GET", 403),
        ("patient/*.rs", "GET", 403),
        ("system/*.rs?_tag=x", "GET", 403),
        ("system/*.rs", "POST", 403),
    ],
)
async def test_channels_need_a_token_that_reaches_every_kind_of_data(
    fhir: Client, scope: str, method: str, status: int
) -> None:
    answer = await call(fhir, method, scope=scope, **({"json": LAB} if method == "POST" else {}))
    assert answer.status_code == status


async def test_a_channel_of_another_clinic_is_not_there(fhir: Client, other: Client) -> None:
    await call(other, "POST", json=LAB)
    assert (await call(fhir, "GET")).json() == []
    assert (await call(fhir, "GET", "/lab/versions")).status_code == 404
    assert (await call(fhir, "PUT", "/lab/state", json={"state": "paused"})).status_code == 404
    assert (await call(fhir, "POST", "/lab/versions/1/promote")).status_code == 404


@pytest.mark.parametrize(
    ("theirs", "ours", "status"),
    [
        ({}, {}, 409),
        ({}, peers("10.1.0.0/16"), 409),  # what says more would take it from them
        (peers("10.0.0.0/8"), peers("10.1.2.3"), 409),
        ({"accepts": {}}, {}, 409),
        ({}, {"accepts": {"senders": [["LAB", "SOUTH"]]}}, 200),
        (peers("10.1.0.0/16"), peers("10.2.0.1"), 200),
        ({"source": {"kind": "mllp", "port": 2600}}, {}, 200),
        ({"source": {"kind": "mllp", "certificates": ["dns:a.example"]}},
         {"source": {"kind": "mllp", "certificates": ["dns:b.example"]}}, 200),
        ({}, {"source": {"kind": "http"}}, 200),
    ],
)  # fmt: skip
async def test_a_clinic_claims_no_messages_that_another_clinics_channel_could_take(
    fhir: Client, other: Client, theirs: dict[str, Any], ours: dict[str, Any], status: int
) -> None:
    assert (await call(other, "POST", json=LAB | theirs)).status_code == 200
    answer = await call(fhir, "POST", json=LAB | ours)
    assert answer.status_code == status, answer.text
    if status == 409:
        assert other.tenant not in answer.text
        assert (await call(fhir, "GET")).json() == []
        # Whoever operates the installation knows both sides, and may.
        operator = Editor(fhir.tenant_id, "root", "concord-cli", fhir.clock())
        await channels.apply(fhir.concord.db, operator, [json.dumps(LAB | ours).encode()])
        again = await call(fhir, "POST", "/lab/versions/1/promote")
        assert again.status_code == 409


@pytest.mark.parametrize("role", ["physician", "biller", "front-desk", "attorney", "super-admin"])
async def test_channels_are_for_administrators_whatever_the_scopes(fhir: Client, role: Role) -> None:
    await call(fhir, "POST", json=LAB)
    person = await member(fhir, role)
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/lab/versions", None),
        ("POST", "", LAB | {"name": "mine"}),
        ("POST", "/lab/versions/1/promote", None),
        ("PUT", "/lab/state", {"state": "paused"}),
    ):
        answer = await call(fhir, method, path, subject=person.sub, scope="user/*.cruds", json=body)
        assert answer.status_code == 403, (method, path)
    admin = await member(fhir, "clinic-admin")
    (row,) = (await call(fhir, "GET", subject=admin.sub, scope="user/*.cruds")).json()
    assert (row["name"], row["state"]) == ("lab", "running")


async def test_how_a_folder_fares_is_told_with_its_channel(fhir: Client) -> None:
    watched = {"name": "files", "source": {"kind": "folder", "path": "lab"}}
    await call(fhir, "POST", json=LAB)
    await call(fhir, "POST", json=watched)
    hold = polls.Hold(fhir.tenant_id, "files", uuid4())
    await polls.hold(fhir.concord.db, hold, 30)
    await polls.went_well(fhir.concord.db, hold, 3, fhir.clock())
    await polls.failed(fhir.concord.db, hold, "the folder is not there", fhir.clock())
    files, lab = (await call(fhir, "GET")).json()
    assert lab["polling"] is None
    assert (files["polling"]["total"], files["polling"]["failures"]) == (3, 1)
    assert files["polling"]["failure"] == "the folder is not there"


@pytest.mark.parametrize(
    ("source", "element"),
    [
        ({"kind": "folder", "path": "../south/lab"}, "source.path"),
        ({"kind": "folder", "path": "/etc"}, "source.path"),
        ({"kind": "folder", "path": "lab/.hidden"}, "source.path"),
        ({"kind": "folder", "path": "lab/done"}, "source.path"),
        ({"kind": "folder", "path": "lab", "files": "../*"}, "source.files"),
        ({"kind": "folder", "path": "lab", "settle": -1}, "source.settle"),
        ({"kind": "folder", "path": "lab", "every": 0}, "source.every"),
        ({"kind": "fhir", "url": "file:///etc", "searches": ["Patient"]}, "source.url"),
        ({"kind": "fhir", "url": "https://x.example?a=b", "searches": ["Patient"]}, "source.url"),
        ({"kind": "fhir", "url": "https://x.example", "searches": []}, "source.searches"),
        ({"kind": "fhir", "url": "https://x.example", "searches": ["Person?", "Nothing"]}, "source.searches[1]"),
        ({"kind": "fhir", "url": "https://x.example", "searches": ["AuditEvent"]}, "source.searches[0]"),
        ({"kind": "fhir", "url": "https://x.example", "searches": ["Patient?_sort=name"]}, "source.searches[0]"),
        ({"kind": "fhir", "url": "https://x.example", "searches": ["Patient"], "since": "today"}, "source.since"),
    ],
)
async def test_a_source_that_cannot_be_meant_is_refused_by_its_element(
    fhir: Client, source: dict[str, Any], element: str
) -> None:
    refused = await call(fhir, "POST", json={"name": "x", "source": source})
    assert refused.status_code == 400
    assert element in refused.text


async def test_nobody_waits_for_the_answer_to_a_file(fhir: Client) -> None:
    given = {"name": "x", "source": {"kind": "folder", "path": "lab"}, "ack": {"when": "applied"}}
    assert "ack.when" in (await call(fhir, "POST", json=given)).text


async def test_what_was_fetched_is_no_message_to_be_sent_on_or_judged_by_its_msh(fhir: Client) -> None:
    source = {"kind": "fhir", "url": "https://x.example", "searches": ["Patient"]}
    out = {"kind": "mllp", "name": "out", "host": "lab.example", "port": 2575}
    given = {"name": "x", "source": source, "destinations": [out], "accepts": {"types": ["ORU"]}}
    refused = await call(fhir, "POST", json=given)
    assert refused.status_code == 400
    assert "destinations[0].sends" in refused.text
    assert "Channel.accepts" in refused.text
