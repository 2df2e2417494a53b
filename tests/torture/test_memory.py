"""A document of 50 MB passes in bounded memory, through the listener, the worker and out again; a kill loses none."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from fhir_server.app import Concord, opened
from fhir_server.context import Tenant
from fhir_server.settings import Settings
from fhir_server.store import lifted, messages
from fhir_server.store.embedded import EmbeddedPostgres
from tests.postgres import SHARED
from tests.torture.world import MB, Process, Wild, document, others_served, part

NAME = "scans"
SIZE = 50 * MB
# In MB above what the process has in memory when idle.
ONE, SEVERAL, WORKED = 64.0, 200.0, 64.0


@pytest.fixture(scope="module")
def tenant(postgres: EmbeddedPostgres) -> Tenant:
    with psycopg.connect(postgres.admin_dsn(SHARED), autocommit=True) as admin:
        row = admin.execute("insert into tenant (name) values (%s) returning id", (NAME,)).fetchone()
    assert row
    return Tenant(row[0], NAME)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scans")


@pytest.fixture(scope="module")
def mllp(tenant: Tenant, server_dsn: str, folder: Path) -> Iterator[Process]:
    with part("mllp", server_dsn, folder, mllp_tenant=NAME) as process:
        asyncio.run(send(process, "warm", 1 * MB))
        yield process


async def send(process: Process, control_id: str, size: int) -> tuple[bytes, bytes]:
    """Send a document; return the answer, and the hash of what was sent."""
    digest = hashlib.sha256()
    async with Wild.to(process.port) as wild:
        await wild.write(b"\x0b")
        for piece in document(control_id, size):
            digest.update(piece)
            await wild.write(piece)
        await wild.write(b"\x1c\r")
        return await wild.answer(), digest.digest()


@pytest.fixture(scope="module")
def worker(mllp: Process, tenant: Tenant, server_dsn: str, folder: Path) -> Iterator[Process]:
    """Give a worker that has worked a first document."""
    with part("worker", server_dsn, folder) as process:
        yield process


async def worked(concord: Concord, tenant: Tenant) -> None:
    """Wait until nothing is left to be worked."""
    async with asyncio.timeout(240):
        while await concord.db.fetch(None, "select 1 from job_ticket where tenant_id = %s limit 1", (tenant.id,)):
            await asyncio.sleep(0.1)


async def test_documents_pass_the_listener_and_the_worker_and_come_out_as_they_came(
    mllp: Process, worker: Process, tenant: Tenant, server_dsn: str, folder: Path
) -> None:
    given = Settings.load(env="test", object_store=(folder / "objects").as_uri())
    async with opened(given, server_dsn) as concord:
        await worked(concord, tenant)
        idle, at_work = mllp.forget(), worker.forget()
        async with others_served(mllp.port, "beside-one"):
            sent = {"one": await send(mllp, "one", SIZE)}
        one = mllp.above(idle)
        idle = mllp.forget()
        async with others_served(mllp.port, "beside-several"):
            names = [f"several-{n}" for n in range(4)]
            sent |= dict(zip(names, await asyncio.gather(*(send(mllp, name, SIZE) for name in names)), strict=True))
        several = mllp.above(idle)
        assert all(f"MSA|AA|{name}".encode() in answer for name, (answer, _) in sent.items())
        await worked(concord, tenant)
        above = worker.above(at_work)
        print(f"MB above idle: listener {one:.0f}, with four at once {several:.0f}; worker {above:.0f}")
        assert one < ONE
        assert several < SEVERAL
        assert above < WORKED
        await all_there(concord, tenant, {name: digest for name, (_, digest) in sent.items()})


async def all_there(concord: Concord, tenant: Tenant, sent: dict[str, bytes]) -> None:
    """Hold that each message is done, comes out as it came, and that its document is in use."""
    rows = await messages.listed(concord.db, tenant.id, limit=1000)
    found = {row.control_id: row for row in rows if row.control_id in sent}
    assert {row.state for row in found.values()} == {"done"}
    for name, digest in sent.items():
        stored = await messages.show(concord.db, tenant.id, found[name].id)
        assert stored is not None
        parts = (concord.service.objects, tenant.id, stored.raw, stored.lifted, digest)
        assert sum([len(piece) async for piece in lifted.whole(*parts)]) > SIZE * 4 / 3
    sizes = "select size from binary_object where tenant_id = %s and used and size >= %s"
    assert len(await concord.db.fetch(tenant.id, sizes, (tenant.id, SIZE))) == len(sent)


async def test_a_listener_killed_while_a_document_arrives_has_taken_nothing_of_it(
    tenant: Tenant, server_dsn: str, tmp_path: Path
) -> None:
    pieces = list(document("killed", 8 * MB))
    message = b"".join(pieces)
    for share in (0.3, 0.99):
        with part("mllp", server_dsn, tmp_path, mllp_tenant=NAME) as process:
            async with Wild.to(process.port) as wild:
                await wild.write(b"\x0b" + message[: int(len(message) * share)])
                await asyncio.sleep(0.3)
                process.process.kill()
                process.process.wait(30)
    given = Settings.load(env="test", object_store=(tmp_path / "objects").as_uri())
    async with opened(given, server_dsn) as concord:
        assert await messages.listed(concord.db, tenant.id, control_id="killed") == []
        with part("mllp", server_dsn, tmp_path, mllp_tenant=NAME) as process:
            async with Wild.to(process.port) as wild:
                await wild.write(b"\x0b" + message + b"\x1c\r")
                assert b"MSA|AA|killed" in await wild.answer()
                process.process.kill()
        (row,) = await messages.listed(concord.db, tenant.id, control_id="killed")
        stored = await messages.show(concord.db, tenant.id, row.id)
        assert stored is not None
        parts = (concord.service.objects, tenant.id, stored.raw, stored.lifted, stored.content_hash)
        assert b"".join([piece async for piece in lifted.whole(*parts)]) == message
