"""A client that leaves takes its statement with it, and a full pool keeps nobody from asking whether we are well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.fhir import Client
from tests.http.trouble import served, standing_still, told

NAME = "leaver"
WAITING = "select count(*) from pg_stat_activity where application_name = %s and state = 'active'"
OPEN = "select count(*) from pg_stat_activity where application_name = %s and state <> 'idle'"
PIDS = "select pid from pg_stat_activity where application_name = %s order by pid"


@pytest.fixture
async def leaver(server_dsn: str) -> AsyncIterator[Client]:
    async with served(make_conninfo(server_dsn, application_name=NAME), statement_timeout=300) as client:
        await client.get("/Patient")
        yield client


async def asked(admin_dsn: str, sql: str) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(admin_dsn, autocommit=True) as admin:
        return await (await admin.execute(sql.encode(), (NAME,))).fetchall()


async def until(admin_dsn: str, sql: str, expected: int) -> None:
    """Wait until the count is as expected."""
    found: list[tuple[Any, ...]] = []
    for _ in range(3000):
        found = await asked(admin_dsn, sql)
        if found == [(expected,)]:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{found} and not {expected}")


async def send(client: Client, method: str, path: str, body: bytes = b"") -> asyncio.StreamWriter:
    """Send a request on a connection of its own."""
    parts = urlsplit(client.base)
    token = await client.token("system/*.cruds")
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"{method} {parts.path}{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
    head += f"content-type: application/fhir+json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    return writer


PATIENT = b'{"resourceType":"Patient"}'
REQUESTS = [("GET", "/Patient?name=a", b""), ("GET", "/Patient?_summary=count", b""), ("POST", "/Patient", PATIENT)]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
async def test_the_statement_of_a_client_that_left_is_stopped_and_its_connection_serves_on(
    leaver: Client, admin_dsn: str, method: str, path: str, body: bytes
) -> None:
    before = await asked(admin_dsn, PIDS)
    async with standing_still(admin_dsn):
        writer = await send(leaver, method, path, body)
        await until(admin_dsn, WAITING, 1)
        writer.close()
        # The table is still held: only a cancel ends the statement.
        await until(admin_dsn, OPEN, 0)
    assert (await leaver.get("/Patient?_total=accurate")).json()["total"] == 0
    # A write opens one more, for the numbers of new resources.
    assert set(before) <= set(await asked(admin_dsn, PIDS))


async def test_a_client_that_stays_is_answered_however_long_it_takes(leaver: Client, admin_dsn: str) -> None:
    async with standing_still(admin_dsn):
        task = asyncio.create_task(leaver.get("/Patient"))
        await until(admin_dsn, WAITING, 1)
        await asyncio.sleep(0.2)
        assert not task.done()
    assert (await task).status_code == 200


async def test_one_that_leaves_takes_nothing_from_others_who_read_with_it(leaver: Client, admin_dsn: str) -> None:
    await leaver.put("/Patient/1", json={"resourceType": "Patient", "id": "1"})
    async with standing_still(admin_dsn):
        first = await send(leaver, "GET", "/Patient/1")
        await until(admin_dsn, WAITING, 1)
        others = [asyncio.create_task(leaver.get("/Patient/1")) for _ in range(5)]
        second = await send(leaver, "GET", "/Patient/1")
        await asyncio.sleep(0.1)
        first.close()
        second.close()
        await asyncio.sleep(0.1)
    assert [answer.status_code for answer in await asyncio.gather(*others)] == [200] * 5


@asynccontextmanager
async def full(client: Client) -> AsyncIterator[None]:
    """Hold every connection of the pool."""
    async with AsyncExitStack() as stack:
        for _ in range(client.concord.settings.pool_max_size):
            tx = await stack.enter_async_context(client.concord.db.transaction(None))
            await tx.fetch("select 1")
        yield


async def test_a_full_pool_does_not_keep_readyz_from_answering(server_dsn: str) -> None:
    async with served(server_dsn, pool_max_size=6, pool_timeout=0.05) as client:
        address = client.base.removesuffix(urlsplit(client.base).path) + "/readyz"
        await client.get("/Patient")
        async with full(client):
            assert told(await client.get("/Patient"), 503)
            answers = await asyncio.gather(*(client.http.get(address) for _ in range(8)))
        assert [(a.status_code, a.json()) for a in answers] == [(200, {"status": "ready"})] * 8


async def test_a_database_that_does_not_answer_is_not_ready_within_a_bound(server_dsn: str, admin_dsn: str) -> None:
    async with served(server_dsn, statement_timeout=300) as client:
        address = client.base.removesuffix(urlsplit(client.base).path) + "/readyz"
        async with await psycopg.AsyncConnection.connect(admin_dsn) as admin:
            await admin.execute("lock table alembic_version in access exclusive mode")
            answer = await client.http.get(address)
            assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
            await admin.rollback()
        for _ in range(3):
            answer = await client.http.get(address)
        assert answer.json() == {"status": "ready"}


async def test_requests_over_their_number_are_503_and_readyz_answers_all_the_same(
    server_dsn: str, admin_dsn: str
) -> None:
    dsn = make_conninfo(server_dsn, application_name=NAME)
    async with served(dsn, max_requests=2) as client:
        await client.get("/Patient")
        address = client.base.removesuffix(urlsplit(client.base).path) + "/readyz"
        async with standing_still(admin_dsn):
            tasks = [asyncio.create_task(client.get("/Patient")) for _ in range(2)]
            await until(admin_dsn, WAITING, 2)
            answer = await client.get("/Patient")
            assert told(answer, 503)["code"] == "transient"
            assert int(answer.headers["retry-after"]) > 0
            assert (await client.http.get(address)).status_code == 200
        assert [(await task).status_code for task in tasks] == [200, 200]


async def raw(client: Client, *parts: bytes) -> bytes:
    """Return all that is answered to bytes on a connection of their own."""
    address = urlsplit(client.base)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    for part in parts:
        writer.write(part)
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer


async def test_a_head_that_is_too_large_is_431_with_an_outcome(server_dsn: str) -> None:
    async with served(server_dsn, max_header_bytes=4096) as client:
        line = b"x-much: " + b"a" * 1000 + b"\r\n"
        answer = await raw(client, b"GET / HTTP/1.1\r\nhost: x\r\n", line * 9)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b'"OperationOutcome"' in answer
        assert b'"too-long"' in answer
        assert (await client.get("/Patient")).status_code == 200


async def test_what_is_no_http_is_400_with_an_outcome(server_dsn: str) -> None:
    async with served(server_dsn) as client:
        for junk in (b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n"):
            answer = await raw(client, junk)
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b'"OperationOutcome"' in answer


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET"])
async def test_a_head_that_does_not_come_in_time_ends_the_connection(server_dsn: str, sent: bytes) -> None:
    async with served(server_dsn, header_timeout=0.5) as client:
        answer = await raw(client, sent)
        assert answer.startswith(b"HTTP/1.1 200 ") == (b"healthz" in sent)
