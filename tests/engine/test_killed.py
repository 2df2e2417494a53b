"""kill -9 of a worker at its work: what it had begun is done once by another, or given up where every one dies at it.

All parts are killed at any moment in tests/flows/test_loss.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from conformance.r4.types import TYPE_CODES
from fhir_server.context import Tenant
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.keyring import Keyring
from fhir_server.store.masterkey import MasterKey
from tests.engine.world import PEER, adt, kept, receiver, tenant_of
from tests.postgres import MASTER_KEY

PROCESS = """
import asyncio, os, signal, sys
from random import Random
from fhir_server.app import opened
from fhir_server.context import Tenant
from fhir_server.engine.channel import catch_all
from fhir_server.engine.steps import STEPS
from fhir_server.engine.worker import Worker
from fhir_server.settings import Settings
role, dsn, tenant = sys.argv[1:4]
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
        await Worker(
            concord.service, channel_of, concord.base, concord.clock,
            random=Random(), new_id=lambda: "C1", poll=0.2, way=way,
        ).run()
asyncio.run(main())
"""


class Victim:
    """A process that is killed and started again."""

    def __init__(self, role: str, dsn: str, tenant: Tenant) -> None:
        self.argv = [sys.executable, "-c", PROCESS, role, dsn, str(tenant.id)]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.Popen(self.argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def again(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.process = self._start()

    def kill(self) -> None:
        """Kill it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.communicate()
        elif self.process.stdout:
            self.process.stdout.close()


@contextlib.contextmanager
def victim(role: str, dsn: str, tenant: Tenant) -> Iterator[Victim]:
    one = Victim(role, dsn, tenant)
    try:
        yield one
    finally:
        one.kill()


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
