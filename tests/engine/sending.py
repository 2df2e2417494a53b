"""An installation whose channel sends on what it takes, on a database of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec

from fhir_server.app import Concord
from fhir_server.app.deliveries import deliverer
from fhir_server.app.work import messages
from fhir_server.context import Tenant
from fhir_server.engine.deliver import Deliverer
from fhir_server.engine.directory import Directory
from fhir_server.engine.parcel import Carrier
from fhir_server.engine.receive import Receiver as Door
from fhir_server.operations import channels
from fhir_server.operations.channels import Editor
from fhir_server.operations.destinations import MllpOut
from fhir_server.store import tenants
from tests.engine.world import PEER, receiver
from tests.fhir import MovedClock, running


class House:
    """An installation with a clinic whose channel `adt` has destinations."""

    def __init__(self, concord: Concord, clock: MovedClock, tenant: Tenant) -> None:
        self.concord, self.clock, self.tenant, self.db = concord, clock, tenant, concord.db
        self.deliverer: Deliverer = deliverer(concord)

    @property
    def editor(self) -> Editor:
        """Return who changes the clinic's channels."""
        return Editor(self.tenant.id, "engineer", "tests", self.clock())

    async def apply(self, *destinations: dict[str, Any], **definition: Any) -> None:
        """Have the channel send to these."""
        data = msgspec.json.encode({"name": "adt", "destinations": destinations, **definition})
        await channels.apply(self.db, self.editor, [data])
        await self.deliverer.aclose()
        self.deliverer = deliverer(self.concord)

    def another(self, carrier: Carrier) -> Deliverer:
        """Return one that sends beside the house's own, as another process would, by this carrier."""
        return deliverer(self.concord, {MllpOut: carrier})

    async def door(self) -> Door:
        """Return what takes the channel's messages."""
        directory = Directory(self.db, await tenants.quarantine(self.db))
        await directory.look()
        return receiver(self.db, await directory.named(self.tenant.id, "adt"), clock=self.clock)

    async def take(self, *contents: bytes) -> list[bytes | None]:
        """Take messages and work them, and return their answers."""
        door = await self.door()
        answers = [await door.message(content, PEER) for content in contents]
        await messages(self.concord).drain()
        return answers

    async def send(self) -> int:
        """Send all that is due."""
        return await self.deliverer.drain()

    async def later(self, seconds: float) -> int:
        """Let time pass and send what is due then."""
        self.clock.move(timedelta(seconds=seconds))
        return await self.send()

    async def states(self) -> list[tuple[str | None, str, int]]:
        """Return MSH-10, state and tries of all deliveries, the oldest first."""
        sql = "select control_id, state, attempts from delivery where tenant_id = %s order by id"
        return [(c, s, a) for c, s, a in await self.db.fetch(self.tenant.id, sql, (self.tenant.id,))]

    async def reasons(self) -> list[str | None]:
        """Return why deliveries are where they are."""
        sql = "select reason from delivery where tenant_id = %s order by id"
        return [reason for (reason,) in await self.db.fetch(self.tenant.id, sql, (self.tenant.id,))]

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(60):
            while not await holds():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def house_on(dsn: str, **settings: Any) -> AsyncIterator[House]:
    """Give an installation on this database."""
    settings.setdefault("outgoing_allow", "127.0.0.1")
    async with running(dsn, poll_interval=0.2, **settings) as (concord, clock):
        found = House(concord, clock, await tenants.add(concord.db, "north"))
        try:
            yield found
        finally:
            await found.deliverer.aclose()


def mllp(port: int, name: str = "ehr", **more: Any) -> dict[str, Any]:
    """Return a destination over MLLP."""
    return {"kind": "mllp", "name": name, "host": "127.0.0.1", "port": port, "connect": 2, "answer": 2, **more}
