"""Messages and resources to servers over HTTP and into folders: sent once in effect, however often they are sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from fhir_server.operations.deliveries import set_secret
from fhir_server.store import delivery_log, tenants
from fhir_server.store.delivery_log import Attempt, Wanted
from fhir_server.store.embedded import EmbeddedPostgres
from tests.engine.sending import House, house_on
from tests.engine.world import adt
from tests.fhir import Client

Asked = tuple[str, dict[str, str], bytes]


@pytest.fixture
async def house(fresh_name: str, postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[House]:
    async with house_on(postgres.server_dsn(fresh_name), folders=tmp_path) as found:
        yield found


class Web:
    """A receiver over HTTP that answers as it is told: status, headers and body."""

    def __init__(self) -> None:
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")
        self.came: list[Asked] = []
        self.port = 0

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"http://127.0.0.1:{self.port}/in"

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            await self._serve(reader, writer)
        finally:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:] if line)}
                self.came.append((head[0], headers, await reader.readexactly(int(headers["content-length"]))))
                status, more, body = self.answer
                lines = [
                    f"HTTP/1.1 {status} X",
                    f"content-length: {len(body)}",
                    *(f"{n}: {v}" for n, v in more.items()),
                ]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
                await writer.drain()


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    one = Web()
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(one.connected(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    yield one
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def last_try(house: House) -> Attempt:
    """Return the last try of the newest delivery."""
    (row,) = await delivery_log.listed(house.db, house.tenant.id, Wanted(), limit=1)
    found = await delivery_log.show(house.db, house.tenant.id, row.id)
    assert found
    return found[1][-1]


async def test_a_message_is_posted_as_hl7_with_a_key_that_is_the_same_at_every_try(house: House, web: Web) -> None:
    await set_secret(house.db, house.editor, "his-token", b"let me in")
    sign_in = {"kind": "bearer", "secret": "his-token"}
    await house.apply({"kind": "http", "name": "his", "url": web.url, "sign_in": sign_in})
    web.answer = (503, {"retry-after": "40"}, b"")
    await house.take(adt("1"))
    await house.send()
    assert await house.later(30) == 0, "Retry-After is kept to"
    web.answer = (202, {}, b"")
    await house.later(11)
    assert await house.states() == [("1", "done", 2)]
    (line, headers, body), (_, again, _) = web.came
    assert (line, body) == ("POST /in HTTP/1.1", adt("1"))
    assert (headers["content-type"], headers["authorization"]) == ("application/hl7-v2", "Bearer let me in")
    assert headers["idempotency-key"] == again["idempotency-key"]


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        ((429, {}, b""), "queued", "the server answered 429"),
        ((500, {}, b""), "queued", "the server answered 500"),
        ((404, {}, b""), "held", "the server answered 404"),
        ((422, {}, b'{"resourceType": "OperationOutcome"}'), "held", "the server answered 422"),
        ((200, {"content-type": "application/hl7-v2"}, b"MSH|^~\\&|\rMSA|AE|1\r"), "held", "the receiver answered AE"),
        ((200, {}, b"x" * (1 << 21)), "held", "the answer is larger than 1048576 bytes"),
    ],
)
async def test_what_the_server_answers_decides(
    house: House, web: Web, answer: tuple[int, dict[str, str], bytes], state: str, reason: str
) -> None:
    web.answer = answer
    await house.apply({"kind": "http", "name": "his", "url": web.url})
    await house.take(adt("1"))
    await house.send()
    assert await house.states() == [("1", state, 1)]
    assert await house.reasons() == [reason]
    if answer[0] == 422:
        assert (await last_try(house)).answer == answer[2], "the OperationOutcome is kept"


async def test_resources_are_posted_as_a_bundle(house: House, web: Web) -> None:
    await house.apply({"kind": "http", "name": "his", "url": web.url, "sends": "resources"})
    await house.take(adt("1"))
    await house.send()
    ((_, headers, body),) = web.came
    bundle = msgspec.json.decode(body)
    assert headers["content-type"] == "application/fhir+json"
    assert {e["resource"]["resourceType"] for e in bundle["entry"]} >= {"Patient", "Encounter"}
    assert all(e["fullUrl"].startswith(house.concord.base(house.tenant)) for e in bundle["entry"])


async def test_an_address_that_the_installation_does_not_allow_is_never_asked(
    fresh_name: str, postgres: EmbeddedPostgres, web: Web
) -> None:
    async with house_on(postgres.server_dsn(fresh_name), outgoing_allow="") as house:
        mllp = {"kind": "mllp", "name": "b", "host": "127.0.0.1", "port": web.port}
        await house.apply({"kind": "http", "name": "a", "url": web.url.replace("http:", "https:")}, mllp)
        await house.take(adt("1"))
        await house.send()
        assert web.came == []
        assert await house.states() == [("1", "held", 1)] * 2


@pytest.mark.parametrize("how", ["transaction", "update", "create"])
async def test_resources_come_to_another_fhir_server_once_in_effect(house: House, how: str) -> None:
    south = await tenants.add(house.concord.db, "south")
    async with httpx.AsyncClient() as http:
        other = Client(house.concord, house.clock, south, http)
        token = await other.token("system/*.cruds")
        await set_secret(house.db, house.editor, "south", token.encode())
        sign_in = {"kind": "bearer", "secret": "south"}
        there = {"kind": "fhir", "name": "south", "base": other.base, "how": how, "sign_in": sign_in}
        await house.apply(there)
        await house.take(adt("1"))
        await house.send()
        assert await house.states() == [("1", "done", 1)], await house.reasons()
        (row,) = await delivery_log.listed(house.db, house.tenant.id, Wanted())
        async with house.db.transaction(house.tenant.id) as tx:
            await delivery_log.retry(tx, Wanted(ids=[row.id]), house.clock(), 10)
        await house.send()
        assert await house.states() == [("1", "done", 2)], await house.reasons()
        patients = (await other.get("/Patient")).json()["entry"]
        (patient,) = [entry["resource"] for entry in patients]
        assert patient["identifier"][0]["value"] == "100"
        (encounter,) = [e["resource"] for e in (await other.get("/Encounter")).json()["entry"]]
        assert encounter["subject"]["reference"] == f"Patient/{patient['id']}"
        assert patient["meta"]["versionId"] == encounter["meta"]["versionId"] == "1"


async def test_a_file_is_left_whole_below_the_clinics_own_folder(house: House, tmp_path: Path) -> None:
    await house.apply(
        {"kind": "folder", "name": "files", "folder": "out/adt"},
        {"kind": "folder", "name": "json", "folder": "out/fhir", "sends": "resources"},
    )
    await house.take(adt("1"))
    await house.send()
    (file,) = (tmp_path / "north" / "out" / "adt").iterdir()
    assert (file.suffix, file.read_bytes()) == (".hl7", adt("1"))
    (file,) = (tmp_path / "north" / "out" / "fhir").iterdir()
    assert msgspec.json.decode(file.read_bytes())["resourceType"] == "Bundle"


async def test_a_folder_is_not_left_by_a_link(house: House, tmp_path: Path) -> None:
    outside: Any = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "north").mkdir()
    (tmp_path / "north" / "out").symlink_to(outside)
    await house.apply({"kind": "folder", "name": "files", "folder": "out"})
    await house.take(adt("1"))
    await house.send()
    assert list(outside.iterdir()) == []
    assert await house.states() == [("1", "queued", 1)]
