"""A process that dies between sending and recording loses nothing: it is sent again, under the same ids."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from fhir_server.engine.parcel import Outcome, Parcel
from fhir_server.store import delivery_log
from fhir_server.store.delivery_log import Wanted
from fhir_server.store.embedded import EmbeddedPostgres
from tests.engine.receivers import receiving, saying
from tests.engine.sending import house_on, mllp
from tests.engine.world import adt

PROCESS = """
import asyncio, sys
from fhir_server.app import opened
from fhir_server.app.deliveries import deliverer
from fhir_server.settings import Settings
async def main():
    async with opened(Settings.load(env="test", outgoing_allow="127.0.0.1"), sys.argv[1]) as concord:
        await deliverer(concord).drain()
asyncio.run(main())
"""


async def test_what_a_killed_process_has_sent_is_sent_again_under_the_same_id_and_recorded_once(
    fresh_name: str, postgres: EmbeddedPostgres
) -> None:
    dsn = postgres.server_dsn(fresh_name)
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    async with house_on(dsn) as house, receiving() as ehr:
        await house.apply(mllp(ehr.port))
        await house.take(adt("1"), adt("2"))
        process: list[subprocess.Popen[bytes]] = []

        def kill(message: bytes) -> bytes | None:
            process[0].send_signal(signal.SIGKILL)
            process[0].wait()
            return None

        ehr.answer = kill
        process.append(await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", PROCESS, dsn], env=environ))
        async with asyncio.timeout(90):
            while not ehr.came:
                await asyncio.sleep(0.05)
        assert await house.states() == [("1", "sending", 1), ("2", "queued", 0)]
        ehr.answer = saying("AA")
        assert await house.send() == 0, "the lease of the dead stands"
        await house.later(60)
        assert ehr.ids == ["1", "1", "2"]
        assert await house.states() == [("1", "done", 2), ("2", "done", 1)]
        (row,) = [r for r in await delivery_log.listed(house.db, house.tenant.id, Wanted()) if r.control_id == "1"]
        found = await delivery_log.show(house.db, house.tenant.id, row.id)
        assert found
        assert [(one.outcome, one.request) for one in found[1]] == [(None, adt("1")), ("done", adt("1"))]


async def test_one_who_comes_back_too_late_changes_nothing(fresh_name: str, postgres: EmbeddedPostgres) -> None:
    async with house_on(postgres.server_dsn(fresh_name)) as house, receiving() as ehr:
        came, go = asyncio.Event(), asyncio.Event()
        await house.apply(mllp(ehr.port, answer=60))
        await house.take(adt("1"))
        slow = house.another(_Waits(came, go))
        late = asyncio.create_task(slow.drain())
        async with asyncio.timeout(60):
            await came.wait()
        await house.later(100)
        assert await house.states() == [("1", "done", 2)]
        go.set()
        await late
        assert await house.states() == [("1", "done", 2)]
        assert ehr.ids == ["1"]


class _Waits:
    """A carrier that is held up until somebody says go, and then says that the delivery was refused."""

    def __init__(self, came: asyncio.Event, go: asyncio.Event) -> None:
        self.came, self.go = came, go

    async def carry(self, parcel: Parcel) -> Outcome:
        self.came.set()
        await self.go.wait()
        return Outcome(state="failed", reason="too late")

    async def aclose(self) -> None:
        """Nothing is kept open."""
