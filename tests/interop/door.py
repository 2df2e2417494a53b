"""A door of ours for senders of others, messages that try them, and what those senders and receivers should say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from adapters.mllp import Listener
from conformance.r4.types import TYPE_CODES
from fhir_server.app import Concord, opened, receiver, worker
from fhir_server.context import Tenant
from fhir_server.operations import channels
from fhir_server.operations.channels import Editor
from fhir_server.settings import Settings
from tests.engine.sending import house_on, mllp
from tests.engine.world import kept, tenant_of

# MSH-18 as HL7 names it, the codec of the bytes, and a name that needs it.
CHARSETS = (
    ("", "ascii", "Muller"),
    ("8859/1", "iso8859_1", "Müller"),
    ("8859/2", "iso8859_2", "Wałęsa"),
    ("UNICODE UTF-8", "utf-8", "山田Ξ"),
)
LARGE = 2_000_000


def adt(control_id: str, family: str = "Muller", charset: str = "", note: str = "") -> str:
    """Return an admission; `note` makes it as long as one likes."""
    declared = f"||||||{charset}" if charset else ""
    return (
        f"MSH|^~\\&|HIS|NORTH|CONCORD|CLINIC|20260301110000+0000||ADT^A01^ADT_A01|{control_id}|P|2.5.1{declared}\r"
        "EVN|A01|20260301110000+0000\r"
        f"PID|1||{control_id}^^^NORTH^MR||{family}^Anna||19700101|F\r"
        f"PV1|1|I|W1^101^1||||||||||||||||V{control_id}^^^NORTH^VN\r" + (f"NTE|1||{note}\r" if note else "")
    )


def refused(control_id: str) -> str:
    """Return a result, which the door does not take: AR."""
    return adt(control_id).replace("ADT^A01^ADT_A01", "ORU^R01^ORU_R01")


def unusable(control_id: str) -> str:
    """Return an admission of nobody, which cannot be processed: AE."""
    return adt(control_id).replace("\rPID|", "\rZID|")


class Door:
    """An open listener with a worker behind it."""

    def __init__(self, concord: Concord, tenant: Tenant, port: int) -> None:
        self._concord = concord
        self._tenant = tenant
        self.port = port

    async def states(self) -> dict[str, str]:
        """Return what became of each message, by control id."""
        return {str(m.control_id): m.state for m in await kept(self._concord.db, self._tenant)}

    async def families(self) -> dict[str, str]:
        """Return the name of each patient, by identifier."""
        id_, kind = self._tenant.id, TYPE_CODES["Patient"]
        sql = "select rid, version, body, type, id from resource where tenant_id = %s and type = %s"
        rows = await self._concord.db.fetch(id_, sql, (id_, kind))
        patients = [msgspec.json.decode(body) for _, _, body, *_ in rows]
        return {one["identifier"][0]["value"]: one["name"][0]["family"] for one in patients}


async def sent_on(dsn: str, port: int, *sent: bytes) -> dict[str | None, str]:
    """Have a channel of ours send these on to a receiver; return what became of each delivery, by control id."""
    async with house_on(dsn) as house:
        await house.apply(mllp(port, answer=60))
        await house.take(*sent)
        await house.send()
        for _ in range(3):  # a receiver that closes its connection after each message is tried again, too
            await house.later(400)
        return {control_id: state for control_id, state, _ in await house.states()}


@asynccontextmanager
async def opened_door(dsn: str) -> AsyncIterator[Door]:
    """Give a door that takes admissions and no results, and answers once a message is processed."""
    async with opened(Settings.load(env="test"), dsn) as concord:
        tenant = await tenant_of(concord.db)
        definition = {
            "name": "adt",
            "ack": {"when": "applied", "seconds": 120, "mode": "original"},
            "accepts": {"types": ["ADT"]},
        }
        editor = Editor(tenant.id, "engineer", "tests", concord.clock())
        await channels.apply(concord.db, editor, [msgspec.json.encode(definition)])
        work = worker(concord)
        running = asyncio.create_task(work.run())
        async with receiver(concord) as receive:
            listener = await Listener.start(receive.message)
            try:
                yield Door(concord, tenant, listener.port)
            finally:
                await listener.stop()
                work.stop()
                await running
