"""kill -9 of listener and worker at any moment: every message that got AA has its effect once, in order per patient."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from adapters.mllp import NoAnswer, Sender
from conformance.r4.types import TYPE_CODES
from fhir_server.context import Tenant
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.keyring import Keyring
from fhir_server.store.masterkey import MasterKey
from tests.engine.world import PEER, adt, code, kept, receiver, tenant_of
from tests.postgres import MASTER_KEY

PROCESS = """
import asyncio, os, signal, socket, sys, uuid
from random import Random
from adapters.mllp import Listener
from fhir_server.app import opened
from fhir_server.context import Tenant
from fhir_server.engine.channel import always, catch_all
from fhir_server.engine.receive import Receiver
from fhir_server.engine.steps import STEPS
from fhir_server.engine.worker import Worker
from fhir_server.settings import Settings
role, dsn, tenant, fd = sys.argv[1:5]
tenant = Tenant(int(tenant), "t")
async def channel_of(tenant_id, name):
    return catch_all(tenant, name)
async def hang(works):
    await works[0].tx.fetch("select 1")  # what the steps before have written is in the database now, uncommitted
    print("mid-transaction", flush=True)
    await asyncio.sleep(600)
async def deadly(works):
    if any(b"|POISON" in work.raw for work in works):
        os.kill(os.getpid(), signal.SIGKILL)
    return works
async def main():
    async with opened(Settings.load(env="test"), dsn) as concord:
        way = {"stuck": (*STEPS, hang), "deadly": (*STEPS[:2], deadly, *STEPS[2:])}.get(role, STEPS)
        if role != "mllp":
            await Worker(
                concord.service, channel_of, concord.base, concord.clock,
                random=Random(), new_id=lambda: "C1", poll=0.2, way=way,
            ).run()
        service = concord.service
        new_id = lambda: uuid.uuid4().hex[:20]
        door = Receiver(concord.db, service.hasher, always(catch_all(tenant)), concord.clock, new_id)
        await Listener.start(door.message, sock=socket.socket(fileno=int(fd)))
        await asyncio.Event().wait()
asyncio.run(main())
"""
PATIENTS, EACH = 6, 20


class Victim:
    """A process that is killed and started again."""

    def __init__(self, role: str, dsn: str, tenant: Tenant, fd: int = -1) -> None:
        self.argv = [sys.executable, "-c", PROCESS, role, dsn, str(tenant.id), str(fd)]
        self.fds = (fd,) if fd >= 0 else ()
        # A thread that kills may still be at it when the test ends.
        self._turn = threading.Lock()
        self._ended = False
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.Popen(
            self.argv, env=env, pass_fds=self.fds, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        """Kill it for good."""
        with self._turn:
            self._ended = True
            self._kill()

    def again(self) -> None:
        """Kill it and start it again, unless it was killed for good."""
        with self._turn:
            if not self._ended:
                self._kill()
                self.process = self._start()

    def _kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.communicate()
        elif self.process.stdout:
            self.process.stdout.close()


@contextlib.contextmanager
def victim(role: str, dsn: str, tenant: Tenant, fd: int = -1) -> Iterator[Victim]:
    one = Victim(role, dsn, tenant, fd)
    try:
        yield one
    finally:
        one.kill()


@contextlib.asynccontextmanager
async def killing(random: Random, *victims: Victim) -> AsyncIterator[Counter[str]]:
    """Kill one or the other while the block runs, so few times that a slow machine comes to its end, too."""
    kills: Counter[str] = Counter()

    async def kill() -> None:
        while kills.total() < 12:
            await asyncio.sleep(random.uniform(0.8, 2.0))
            one = random.choice(victims)
            kills[one.argv[3]] += 1
            await asyncio.to_thread(one.again)

    task = asyncio.create_task(kill())
    yield kills
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def send_until_accepted(port: int, patient: int) -> None:
    """Send one patient's messages in order over one connection, each until it has its AA."""
    sender = Sender("127.0.0.1", port, answer=5)
    for n in range(EACH):
        message = adt(
            f"{patient}-{n:03}", str(patient), f"Name{n:03}", "A08", sent=f"20260301{10 + n // 60}{n % 60:02}00+0000"
        )
        while True:
            with contextlib.suppress(NoAnswer, OSError):
                if code(await sender.send(message)) == "AA":
                    break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
    await sender.close()


async def settled(db: Database, tenant: Tenant) -> None:
    async with asyncio.timeout(180):
        while await db.fetch(None, "select 1 from job_ticket limit 1"):
            await asyncio.sleep(0.1)


async def families(db: Database, tenant: Tenant) -> dict[str, list[str]]:
    """Return the family names of each patient through all versions, the first one first."""
    sql = (
        "select rid, version, body, type, id from resource where tenant_id = %s and type = %s"
        " union all select h.rid, h.version, h.body, h.type, r.id from resource_history h"
        " join resource r using (tenant_id, rid) where h.tenant_id = %s and h.type = %s order by 1, 2"
    )
    kind = TYPE_CODES["Patient"]
    found: dict[str, list[str]] = {}
    db.keyring = Keyring(MasterKey.of(MASTER_KEY))
    for _, _, body, *_ in await db.fetch(tenant.id, sql, (tenant.id, kind, tenant.id, kind)):
        patient = msgspec.json.decode(body)
        found.setdefault(patient["identifier"][0]["value"], []).append(patient["name"][0]["family"])
    return found


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_acknowledged_message_takes_effect_once_and_in_order(
    postgres: EmbeddedPostgres, fresh_name: str, fresh_database: Database, seed: int
) -> None:
    db, dsn = fresh_database, postgres.server_dsn(fresh_name)
    tenant = await tenant_of(db)
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        victim("mllp", dsn, tenant, sock.fileno()) as door,
        victim("worker", dsn, tenant) as worker,
    ):
        port = sock.getsockname()[1]
        async with killing(Random(seed), door, worker, worker) as kills:
            await asyncio.gather(*(send_until_accepted(port, p) for p in range(PATIENTS)))
            async with asyncio.timeout(60):
                while kills.total() < 3:
                    await asyncio.sleep(0.1)
        await settled(db, tenant)
    assert Counter(m.state for m in await kept(db, tenant)) == {"done": PATIENTS * EACH}
    expected = [f"Name{n:03}" for n in range(EACH)]
    assert await families(db, tenant) == {str(p): expected for p in range(PATIENTS)}


async def test_a_worker_killed_in_the_middle_of_its_transaction_has_done_nothing(
    postgres: EmbeddedPostgres, fresh_name: str, fresh_database: Database
) -> None:
    db, dsn = fresh_database, postgres.server_dsn(fresh_name)
    tenant = await tenant_of(db)
    await receiver(db, tenant).message(adt("A1"), PEER)
    with victim("stuck", dsn, tenant) as stuck:
        assert stuck.process.stdout is not None
        assert await asyncio.to_thread(stuck.process.stdout.readline) == b"mid-transaction\n"
    assert await families(db, tenant) == {}
    assert [(m.state, m.attempts) for m in await kept(db, tenant)] == [("received", 0)]
    with victim("worker", dsn, tenant):
        await settled(db, tenant)
    assert await families(db, tenant) == {"100": ["Meier"]}
    assert [(m.state, m.attempts) for m in await kept(db, tenant)] == [("done", 1)]


async def test_a_message_at_which_every_process_dies_is_given_up_and_the_others_are_done(
    postgres: EmbeddedPostgres, fresh_name: str, fresh_database: Database
) -> None:
    db, dsn = fresh_database, postgres.server_dsn(fresh_name)
    tenant = await tenant_of(db)
    door = receiver(db, tenant)
    for n in range(5):
        await door.message(adt("POISON" if n == 2 else f"A{n}", str(n)), PEER)
    await door.message(adt("after", "2"), PEER)
    with victim("deadly", dsn, tenant) as worker:
        async with asyncio.timeout(120):
            while await db.fetch(None, "select 1 from job_ticket limit 1"):
                if worker.process.poll() is not None:
                    worker.again()
                await asyncio.sleep(0.05)
    states = {m.control_id: m.state for m in await kept(db, tenant)}
    assert states == {"POISON": "buried", "after": "done"} | {f"A{n}": "done" for n in (0, 1, 3, 4)}
    (buried,) = [m for m in await kept(db, tenant) if m.state == "buried"]
    assert "3 processes ended" in buried.reason[0]["diagnostics"]
    assert await db.fetch(None, "select 1 from job_attempt") == []
