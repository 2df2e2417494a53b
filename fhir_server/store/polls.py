"""Who looks at a channel's source, how far it is, and what came of the last look.

One process holds a channel for as long as it renews its hold; when it dies, the hold ends by itself, and another takes
the channel over. By the database's clock: those of the machines may differ.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from fhir_server.store.database import Database


class Look(msgspec.Struct, frozen=True):
    """How a source fares: `held` until when a process holds it, `looked` the last look that went well, `taken` the last
    that brought something, `total` what came in all; `failures` in a row since, `failure` what went wrong last.
    """

    channel: str
    held: datetime | None
    looked: datetime | None
    taken: datetime | None
    total: int
    failures: int
    failed: datetime | None
    failure: str | None


_HOLD = """
insert into channel_poll as p (tenant_id, channel, owner, held) values (%s, %s, %s, now() + %s * interval '1 second')
on conflict (tenant_id, channel) do update set owner = excluded.owner, held = excluded.held
    where p.owner is null or p.owner = excluded.owner or p.held < now()
returning mark
"""
_LET_GO = "update channel_poll set owner = null, held = null where tenant_id = %s and channel = %s and owner = %s"
_WENT_WELL = """
update channel_poll set looked = %s, failures = 0, total = total + %s,
    taken = case when %s > 0 then %s else taken end
where tenant_id = %s and channel = %s and owner = %s
"""
_FAILED = """
update channel_poll set failures = failures + 1, failed = %s, failure = %s
where tenant_id = %s and channel = %s and owner = %s
"""
_MARK = "update channel_poll set mark = %s where tenant_id = %s and channel = %s and owner = %s returning 1"


class Hold(msgspec.Struct, frozen=True):
    """A channel that this process holds."""

    tenant_id: int
    channel: str
    owner: UUID

    @property
    def key(self) -> tuple[int, str, UUID]:
        """Return by what its row is known."""
        return self.tenant_id, self.channel, self.owner


async def hold(db: Database, held: Hold, seconds: float) -> Any | None:
    """Hold a channel for so long, or hold it longer; return how far it is ({} at first), None while another has it."""
    rows = await db.fetch(held.tenant_id, _HOLD, (*held.key, seconds))
    return rows[0][0] if rows else None


async def let_go(db: Database, held: Hold) -> None:
    """Let another process have the channel at once."""
    await db.fetch(held.tenant_id, _LET_GO, held.key)


async def went_well(db: Database, held: Hold, taken: int, now: datetime) -> None:
    """Note a look at a channel that we hold."""
    await db.fetch(held.tenant_id, _WENT_WELL, (now, taken, taken, now, *held.key))


async def failed(db: Database, held: Hold, why: str, now: datetime) -> None:
    """Note a look that failed; `why` is in words of ours."""
    await db.fetch(held.tenant_id, _FAILED, (now, why, *held.key))


async def mark(db: Database, held: Hold, how_far: Any) -> bool:
    """Note how far a channel is; False where another process has it now."""
    return bool(await db.fetch(held.tenant_id, _MARK, (how_far, *held.key)))


async def all_of(db: Database, tenant_id: int) -> dict[str, Look]:
    """Return how the sources of a tenant's channels fare, by the channel's name."""
    columns = ", ".join(Look.__struct_fields__)
    sql = f"select {columns} from channel_poll where tenant_id = %s order by channel"  # noqa: S608
    return {row[0]: Look(*row) for row in await db.fetch(tenant_id, sql, (tenant_id,))}
