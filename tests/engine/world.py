"""What the engine's tests share: messages, a tenant with a door, and what is in its inbox."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any

import psycopg

from adapters.contract import Peer
from fhir_server.context import Tenant
from fhir_server.engine.channel import Channel, always, catch_all
from fhir_server.engine.receive import Receiver
from fhir_server.search.hashing import Hasher
from fhir_server.store import messages
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.messages import Summary
from tests.postgres import new_tenants

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PEER = Peer("127.0.0.1", 4711)


def shut(postgres: EmbeddedPostgres, name: str, *, shut: bool = True) -> None:
    """End every connection to a database and let no new one in, or let them in again."""
    with psycopg.connect(postgres.admin_dsn("postgres"), autocommit=True) as admin:
        admin.execute(f"alter database {name} allow_connections {not shut}".encode())
        if shut:
            admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))


def adt(control_id: str, patient: str = "100", family: str = "Meier", event: str = "A01", **more: str) -> bytes:
    """Return an admission of a patient; `sent` and `app` change MSH-7 and MSH-3."""
    sent, app = more.get("sent", "20260301110000+0000"), more.get("app", "HIS")
    lines = (
        f"MSH|^~\\&|{app}|NORTH|CONCORD|CLINIC|{sent}||ADT^{event}^ADT_A01|{control_id}|P|2.5.1",
        f"EVN|{event}|{sent}",
        f"PID|1||{patient}^^^NORTH^MR||{family}^Anna||19700101|F",
        f"PV1|1|I|W1^101^1||||||||||||||||V{patient}^^^NORTH^VN",
    )
    return "".join(line + "\r" for line in lines).encode()


async def tenant_of(db: Database) -> Tenant:
    """Make a tenant that no other test knows."""
    (id_,) = await new_tenants(db, 1)
    rows = await db.fetch(None, "select name from tenant where id = %s", (id_,))
    return Tenant(id_, rows[0][0])


def receiver(db: Database, channel: Channel | Tenant, **more: Any) -> Receiver:
    """Return what stands behind the listener of one channel; a tenant gets a channel that takes everything."""
    numbers = count(1)
    route = always(channel if isinstance(channel, Channel) else catch_all(channel))
    clock: Callable[[], datetime] = more.pop("clock", lambda: NOW)
    hasher = more.pop("hasher", Hasher(b"test"))
    return Receiver(db, hasher, route, clock, lambda: f"C{next(numbers)}", **more)


def segments(answer: bytes | None) -> dict[str, list[str]]:
    """Return the segments of an acknowledgement by name, each split into fields."""
    assert answer is not None
    return {line[:3]: line.split("|") for line in answer.decode().split("\r") if line}


def code(answer: bytes | None) -> str:
    """Return MSA-1."""
    return segments(answer)["MSA"][1]


async def kept(db: Database, tenant: Tenant) -> list[Summary]:
    """Return the tenant's messages, the oldest first."""
    return (await messages.listed(db, tenant.id, limit=1000))[::-1]


async def raw(db: Database, tenant: Tenant, id_: int) -> bytes:
    """Return the bytes of a message as they were kept."""
    stored = await messages.show(db, tenant.id, id_)
    assert stored is not None
    return stored.raw
