"""Senders that do their worst: memory stays bounded, others are served, and the fate of every message is recorded."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from random import Random

import msgspec
import psycopg
import pytest

from adapters.frames import wrap
from fhir_server.context import Tenant
from fhir_server.store import messages
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.keyring import Keyring
from fhir_server.store.masterkey import MasterKey
from tests.postgres import MASTER_KEY, SHARED
from tests.torture.world import MB, Process, Wild, message, others_served, part

NAME = "torture"
# What the process may have in memory above what it has idle, in MB, while one test does its worst.
BOUND = 64.0
LIMITS = {
    "mllp_tenant": NAME,
    "mllp_max_connections": "1200",
    "mllp_max_connections_per_peer": "1200",
    "mllp_max_message_bytes": str(16 * MB),
    "message_text_bytes": str(2 * MB),
}


@pytest.fixture(scope="module")
def tenant(postgres: EmbeddedPostgres) -> Tenant:
    with psycopg.connect(postgres.admin_dsn(SHARED), autocommit=True) as admin:
        row = admin.execute("insert into tenant (name) values (%s) returning id", (NAME,)).fetchone()
    assert row
    return Tenant(row[0], NAME)


@pytest.fixture(scope="module")
def mllp(tenant: Tenant, server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Give a listener that all tests share: what one did to it must not matter to the next."""
    with part("mllp", server_dsn, tmp_path_factory.mktemp("torture"), **LIMITS) as process:
        asyncio.run(_warm(process))
        yield process
        assert process.process.poll() is None, "the listener did not outlive all of it"


async def _warm(process: Process) -> None:
    """Have everything loaded that a first message loads."""
    async with Wild.to(process.port) as wild:
        await wild.write(wrap(message("warm")))
        assert b"MSA|AA|warm" in await wild.answer()


@pytest.fixture
async def db(database: Database) -> Database:
    database.keyring = Keyring(MasterKey.of(MASTER_KEY))
    return database


@contextlib.asynccontextmanager
async def bounded(process: Process, name: str) -> AsyncIterator[None]:
    """Hold that the block needs no more memory than may be, and that others are served."""
    idle = process.forget()
    async with others_served(process.port, name):
        yield
    assert process.above(idle) < BOUND


class Fate(msgspec.Struct, frozen=True):
    """What became of a message."""

    id: int
    control_id: str
    state: str


async def fates(db: Database, tenant: Tenant, prefix: str, number: int) -> list[Fate]:
    """Return the messages whose control ids begin so, once there are so many."""
    sql = "select id, control_id, state from inbox where tenant_id = %s and starts_with(control_id, %s) order by id"
    async with asyncio.timeout(120):
        while True:
            found = [Fate(*row) for row in await db.fetch(tenant.id, sql, (tenant.id, prefix))]
            if len(found) >= number:
                return found
            await asyncio.sleep(0.1)


async def test_a_sender_that_splits_every_byte(mllp: Process, db: Database, tenant: Tenant) -> None:
    async with bounded(mllp, "beside-split"), Wild.to(mllp.port) as wild:
        for number in range(3):
            for byte in wrap(message(f"split-{number}")):
                await wild.write(bytes([byte]))
                await asyncio.sleep(0)
            assert b"MSA|AA|split-%d" % number in await wild.answer()
    assert [row.state for row in await fates(db, tenant, "split-", 3)] == ["received"] * 3


async def test_a_sender_that_joins_frames_gets_an_answer_for_each_in_order(
    mllp: Process, db: Database, tenant: Tenant
) -> None:
    async with bounded(mllp, "beside-joined"), Wild.to(mllp.port) as wild:
        await wild.write(b"".join(wrap(message(f"joined-{number:03}")) for number in range(300)))
        answers = [await wild.answer() for _ in range(300)]
    assert [b"MSA|AA|joined-%03d" % number in answer for number, answer in enumerate(answers)] == [True] * 300
    assert [row.control_id for row in await fates(db, tenant, "joined-", 300)] == [f"joined-{n:03}" for n in range(300)]


async def test_a_sender_that_never_reads_its_answers_costs_no_memory(
    mllp: Process, db: Database, tenant: Tenant
) -> None:
    frame = wrap(message("mute", more=b"NTE|1||" + b"x" * 9000 + b"\r"))
    async with bounded(mllp, "beside-mute"), Wild.to(mllp.port) as wild:
        wild.reader._transport.pause_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                for _ in range(500):
                    await wild.write(frame * 10)
    assert [row.state for row in await fates(db, tenant, "mute", 1)] == ["received"]


CLAIMS = (
    "UNICODE UTF-8", "UNICODE UTF-16", "UNICODE UTF-32", "8859/1", "8859/15", "ASCII", "ISO IR87", "GB 18030-2000",
    "BIG-5", "WINDOWS-1252", "nonsense", "\xff\xfe", "../../etc", "8859/99", "~~~^^^", "utf_7", "rot13", "zlib",
)  # fmt: skip


async def test_a_sender_that_lies_in_msh_18_is_answered_and_its_bytes_are_kept(
    mllp: Process, db: Database, tenant: Tenant
) -> None:
    random, sent = Random(18), dict[str, bytes]()
    async with bounded(mllp, "beside-lies"), Wild.to(mllp.port) as wild:
        for number, charset in enumerate(CLAIMS):
            noise = bytes(b for b in random.randbytes(400) if b not in b"\x0b\x1c\r\n")
            sent[f"lie-{number}"] = message(f"lie-{number}", charset=charset, more=b"NTE|1||" + noise + b"\r")
            await wild.write(wrap(sent[f"lie-{number}"]))
            assert f"MSA|AA|lie-{number}".encode() in (await wild.answer()).replace(b"\0", b"")
    rows = await fates(db, tenant, "lie-", len(CLAIMS))
    assert [row.state for row in rows] == ["received"] * len(CLAIMS)
    for row in rows:
        stored = await messages.show(db, tenant.id, row.id)
        assert stored is not None
        assert stored.raw == sent[row.control_id or ""]


ENDLESS = {
    "text": b"NTE|1||",
    "document": b"OBX|1|ED|PDF^Scan^L||LAB^AP^PDF^Base64^",
    "segments": b"",
}
ENDLESS_BYTES = 200 * MB


@pytest.mark.parametrize("kind", ENDLESS)
async def test_a_sender_whose_message_never_ends_is_told_and_held_no_longer(
    mllp: Process, db: Database, tenant: Tenant, kind: str
) -> None:
    piece = b"NTE|1||x\r" * 7000 if kind == "segments" else b"QUJD" * (16 << 10)
    async with bounded(mllp, f"beside-endless-{kind}"), Wild.to(mllp.port) as wild:
        await wild.write(b"\x0b" + message(f"endless-{kind}", more=ENDLESS[kind]))
        for _ in range(ENDLESS_BYTES // len(piece)):
            await wild.write(piece)
        answer = await wild.answer()
        assert b"MSA|AR|endless-" in answer
        assert b"longer than the limit" in answer
        await wild.write(b"\x1c\r" + wrap(message(f"after-{kind}")))
        assert b"MSA|AA|after-" in await wild.answer()
    (row,) = await fates(db, tenant, f"endless-{kind}", 1)
    assert row.state == "rejected"
    assert [r.state for r in await fates(db, tenant, f"after-{kind}", 1)] == ["received"]


async def test_a_thousand_connections_that_all_stop_in_the_middle(mllp: Process, db: Database, tenant: Tenant) -> None:
    half = message("crowd", more=b"NTE|1||" + b"x" * 20_000)
    async with bounded(mllp, "beside-crowd"), contextlib.AsyncExitStack() as stack:
        wilds = [await stack.enter_async_context(Wild.to(mllp.port)) for _ in range(1000)]
        for wild in wilds:
            await wild.write(b"\x0b" + half)
        async with Wild.to(mllp.port) as one:
            await one.write(wrap(message("amid-crowd")))
            assert b"MSA|AA|amid-crowd" in await one.answer()
        for number, wild in enumerate(wilds[:100]):
            await wild.write(b"\r\x1c\r")
            # The same content by the same name: all but the first meet the message that is there.
            assert b"MSA|AA|crowd" in await wild.answer(), number
    states = Counter(row.state for row in await fates(db, tenant, "crowd", 901))
    assert states == {"received": 1, "rejected": 900}


async def test_connections_beyond_the_limit_are_closed_and_those_before_are_served(mllp: Process) -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(Wild.to(mllp.port))
        for _ in range(1300):
            with contextlib.suppress(OSError):
                await stack.enter_async_context(Wild.to(mllp.port))
        await first.write(wrap(message("before-the-limit")))
        assert b"MSA|AA|" in await first.answer()
        last = await stack.enter_async_context(Wild.to(mllp.port))
        with contextlib.suppress(OSError):
            assert await last.answer() == b""


async def test_large_frames_that_stop_in_the_middle_hold_up_nobody_who_is_small(
    mllp: Process, db: Database, tenant: Tenant
) -> None:
    """More of them than are taken at one time; when they end, each has its fate."""
    text = b"NTE|1||" + b"x" * 300_000 + b"\r"
    async with bounded(mllp, "beside-large"), contextlib.AsyncExitStack() as stack:
        wilds = [await stack.enter_async_context(Wild.to(mllp.port)) for _ in range(20)]
        for number, wild in enumerate(wilds):
            wild.writer.write(b"\x0b" + message(f"large-{number:02}", more=text))
        async with others_served(mllp.port, "beside-waiting"):
            await asyncio.sleep(0.2)
        for wild in wilds:
            wild.writer.write(b"\x1c\r")
        answers = [await wild.answer() for wild in wilds]
    assert all(b"MSA|AA|large-" in answer for answer in answers)
    assert [row.state for row in await fates(db, tenant, "large-", 20)] == ["received"] * 20
