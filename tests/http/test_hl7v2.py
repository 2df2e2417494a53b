"""POST /{tenant}/api/hl7v2: one HL7 v2 message in, its acknowledgement out, for services that may.

https://hapifhir.github.io/hapi-hl7v2/hapi-hl7overhttp/specification.html
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import msgspec
import pytest

from fhir_server.app import worker
from fhir_server.operations import channels
from fhir_server.operations.channels import Editor
from fhir_server.store import messages
from tests.engine.world import adt, code, kept
from tests.fhir import Client
from tests.http.trouble import served
from tests.people import member

KIND = "application/hl7-v2"
SCOPE = "system/MessageHeader.c"


async def apply(fhir: Client, name: str = "posted", **definition: Any) -> None:
    """Save a channel; what is posted meets it within a moment."""
    who = Editor(fhir.tenant_id, "engineer", "tests", fhir.clock())
    await channels.apply(fhir.concord.db, who, [msgspec.json.encode({"name": name, **definition})])
    await asyncio.sleep(0.25)


async def post(
    fhir: Client, body: Any, *, scope: str = SCOPE, client: str = "lab-client", kind: str = KIND, **more: Any
) -> httpx.Response:
    """Post a message with a token of a service."""
    headers = {"content-type": kind, **more.pop("headers", {})}
    if scope:
        token = await fhir.token(scope, subject=more.pop("subject", client), client=client)
        headers["authorization"] = f"Bearer {token}"
    address = fhir.base.removesuffix("/fhir") + "/api/hl7v2"
    return await fhir.http.post(address, content=body, headers=headers, **more)


async def test_a_message_is_stored_acknowledged_and_worked(fhir: Client) -> None:
    await apply(fhir, source={"kind": "http", "clients": ["lab-client"]})
    answer = await post(fhir, adt("1"))
    assert (answer.status_code, code(answer.content)) == (200, "AA")
    assert answer.headers["content-type"] == f"{KIND}; charset=us-ascii"
    (message,) = await kept(fhir.concord.db, fhir.tenant_as_named())
    assert (message.channel, message.state, message.peer) == ("posted", "received", "127.0.0.1 client lab-client")
    await worker(fhir.concord).drain()
    assert (await fhir.get("/Patient?family=Meier")).json()["entry"]


async def test_the_same_message_again_gets_the_same_answer_and_has_no_second_effect(fhir: Client) -> None:
    await apply(fhir, source={"kind": "http"})
    first = await post(fhir, adt("1"))
    assert (await post(fhir, adt("1"))).content == first.content
    assert len(await kept(fhir.concord.db, fhir.tenant_as_named())) == 1


async def test_what_its_msh_refuses_gets_400_with_the_refusal(fhir: Client) -> None:
    await apply(fhir, source={"kind": "http"}, accepts={"types": ["ORU^R01"]})
    answer = await post(fhir, adt("1"))
    assert (answer.status_code, code(answer.content)) == (400, "AR")
    assert answer.headers["content-type"].startswith(KIND)
    assert {m.state for m in await kept(fhir.concord.db, fhir.tenant_as_named())} == {"rejected"}


async def test_what_cannot_be_worked_gets_500_with_what_is_wrong_where_the_channel_waits_for_it(fhir: Client) -> None:
    await apply(fhir, source={"kind": "http"}, ack={"when": "applied"})
    working = worker(fhir.concord)
    task = asyncio.create_task(working.run())
    try:
        answer = await post(fhir, adt("1").replace(b"PID|", b"ZID|"))
        assert (answer.status_code, code(answer.content)) == (500, "AE")
    finally:
        working.stop()
        await task


async def test_who_wants_no_acknowledgement_gets_an_empty_answer_and_is_stored(fhir: Client) -> None:
    await apply(fhir, source={"kind": "http"})
    answer = await post(fhir, adt("1").replace(b"|P|2.5.1\r", b"|P|2.5.1|||NE|NE\r"))
    assert (answer.status_code, answer.content) == (204, b"")
    assert [m.state for m in await kept(fhir.concord.db, fhir.tenant_as_named())] == ["received"]


@pytest.mark.parametrize(
    "source", [{"kind": "http", "clients": ["another"]}, {"kind": "http", "peers": ["10.0.0.0/8"]}, {"kind": "mllp"}]
)
async def test_a_client_that_no_channel_names_is_refused_and_kept_with_its_clinic(
    fhir: Client, source: dict[str, Any]
) -> None:
    await apply(fhir, source=source)
    answer = await post(fhir, adt("1"))
    assert (answer.status_code, code(answer.content)) == (400, "AR")
    (message,) = await kept(fhir.concord.db, fhir.tenant_as_named())
    assert (message.channel, message.state) == ("unknown-sender", "rejected")


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ("", 401),
        ("system/*.rs", 403),
        ("system/Patient.cruds", 403),
        ("system/MessageHeader.c?_tag=x", 403),
        ("user/*.cruds", 403),
        ("patient/*.cruds", 403),
    ],
)
async def test_who_may_not_send_is_refused_before_a_byte_of_the_body_is_read(
    fhir: Client, scope: str, status: int
) -> None:
    """N39: the head alone is sent, and the answer comes all the same."""
    told = f"authorization: Bearer {await fhir.token(scope)}\r\n" if scope else ""
    head = f"POST /{fhir.tenant}/api/hl7v2 HTTP/1.1\r\nhost: x\r\ncontent-type: {KIND}\r\ncontent-length: 100000\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", fhir.concord.settings.port)
    writer.write(f"{head}{told}\r\n".encode())
    async with asyncio.timeout(30):
        assert (await reader.readline()).split()[1] == str(status).encode()
    writer.close()
    assert await kept(fhir.concord.db, fhir.tenant_as_named()) == []


async def test_a_person_sends_no_messages(fhir: Client) -> None:
    admin = await member(fhir, "clinic-admin")
    assert (await post(fhir, adt("1"), scope="user/*.cruds", subject=admin.sub)).status_code == 403


async def test_a_token_of_another_clinic_is_none_here(fhir: Client, other: Client) -> None:
    await apply(fhir, source={"kind": "http"})
    token = await other.token(SCOPE, subject="lab-client", client="lab-client")
    headers = {"authorization": f"Bearer {token}"}
    assert (await post(fhir, adt("1"), scope="", headers=headers)).status_code == 403
    assert await kept(fhir.concord.db, fhir.tenant_as_named()) == []


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/hl7-v2+xml", ""])
async def test_what_is_not_hl7_by_its_content_type_gets_415(fhir: Client, kind: str) -> None:
    assert (await post(fhir, adt("1"), kind=kind)).status_code == 415


async def test_packed_bodies_are_not_taken(fhir: Client) -> None:
    assert (await post(fhir, adt("1"), headers={"content-encoding": "gzip"})).status_code == 415


@pytest.mark.parametrize(
    ("family", "encoding", "declared", "kind", "status"),
    [
        ("Müller", "utf-8", "UNICODE UTF-8", f"{KIND}; charset=utf-8", 200),
        ("Müller", "utf-8", "", f"{KIND}; charset=UTF-8", 200),
        ("Müller", "latin-1", "8859/1", f"{KIND}; charset=iso-8859-1", 200),
        ("Müller", "latin-1", "8859/1", KIND, 200),
        ("Müller", "latin-1", "8859/1", f"{KIND}; charset=utf-8", 415),
        ("Müller", "latin-1", "", f"{KIND}; charset=iso-8859-1", 415),
        ("Müller", "utf-8", "", f"{KIND}; charset=nonsense", 415),
        ("Muller", "ascii", "8859/1", f"{KIND}; charset=utf-8", 200),
    ],
)
async def test_content_type_and_msh_18_may_not_contradict_each_other(
    fhir: Client, family: str, encoding: str, declared: str, kind: str, status: int
) -> None:
    await apply(fhir, source={"kind": "http"})
    text = adt("1", family="@").decode().replace("|2.5.1\r", f"|2.5.1||||||{declared}\r").replace("@", family)
    assert (await post(fhir, text.encode(encoding), kind=kind)).status_code == status


async def test_a_message_over_the_limit_is_refused_without_reading_it_whole(server_dsn: str) -> None:
    async with served(server_dsn, mllp_max_message_bytes=1024) as fhir:
        await apply(fhir, source={"kind": "http"})
        assert (await post(fhir, adt("1"))).status_code == 200
        assert (await post(fhir, adt("2") + b"NTE|" + b"x" * 1024)).status_code == 413


async def test_a_large_message_is_taken_as_it_arrives_and_comes_back_as_it_was(fhir: Client) -> None:
    await apply(fhir, source={"kind": "http"})
    document = base64.b64encode(bytes(range(256)) * 2048).decode()
    data = adt("1") + f"OBX|1|ED|PDF^Report^L||^application^pdf^Base64^{document}||||||F\r".encode()
    assert len(data) > fhir.concord.settings.message_whole_bytes
    first = await post(fhir, data)
    assert (first.status_code, code(first.content)) == (200, "AA")
    assert (await post(fhir, data)).content == first.content
    (message,) = await kept(fhir.concord.db, fhir.tenant_as_named())
    found = await messages.show(fhir.concord.db, fhir.tenant_id, message.id)
    assert found
    assert len(found.raw) < len(document), "the document is in the object store"


async def test_more_messages_at_one_time_than_may_be_get_503(server_dsn: str) -> None:
    async with served(server_dsn, mllp_max_connections=1) as fhir:
        await apply(fhir, source={"kind": "http"})
        begun, release = asyncio.Event(), asyncio.Event()

        async def slow() -> Any:
            yield adt("1")[:10]
            begun.set()
            await release.wait()
            yield adt("1")[10:]

        first = asyncio.create_task(post(fhir, slow()))
        await begun.wait()
        async with asyncio.timeout(30):
            while (answer := await post(fhir, adt("2"))).status_code == 200:
                if first.done():  # it met one of these, and was the one too many
                    first = asyncio.create_task(post(fhir, slow()))
                await asyncio.sleep(0.01)
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        release.set()
        assert (await first).status_code == 200
