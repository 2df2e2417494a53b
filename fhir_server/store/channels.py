"""Channels of a tenant: each has a state and numbered definitions, one of which works; none is ever changed or lost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from fhir_server.context import Tenant
from fhir_server.errors import NotFound
from fhir_server.store.database import Database, Tx
from fhir_server.store.tickets import CHANNEL, MESSAGE, Ticket

ChannelState = Literal["running", "paused", "draining"]
# Rung where a channel changes; listeners and workers also look by themselves.
BELL = "concord_channels"


class StoredChannel(msgspec.Struct, frozen=True):
    """A channel with the definition that works, as JSON; `state` tells whether it takes and processes messages."""

    name: str
    state: ChannelState
    version: int
    definition: dict[str, Any]
    changed: datetime


class ChannelVersion(msgspec.Struct, frozen=True):
    """One definition that a channel has or had, and who made it when and why."""

    version: int
    author: str
    note: str | None
    created: datetime
    definition: dict[str, Any]


_ALL = """
select c.name, c.state, c.version, v.definition, c.changed from channel c
join channel_version v on v.tenant_id = c.tenant_id and v.name = c.name and v.version = c.version
where c.tenant_id = %s order by c.name
"""
_VERSIONS = """
select version, author, note, created, definition from channel_version where tenant_id = %s and name = %s
order by version desc
"""
_TAKE = """
insert into channel (tenant_id, name, state, version, changed) values (%s, %s, 'running', 0, %s)
on conflict (tenant_id, name) do update set changed = excluded.changed returning version
"""
_ADD = """
insert into channel_version (tenant_id, name, version, definition, author, note, created)
select %s, %s, coalesce(max(version), 0) + 1, %s, %s, %s, %s from channel_version where tenant_id = %s and name = %s
returning version
"""
_PROMOTE = "update channel set version = %s, changed = %s where tenant_id = %s and name = %s"


async def all_of(db: Database, tenant_id: int) -> list[StoredChannel]:
    """Return the tenant's channels by name, each with the definition that works."""
    return [StoredChannel(*row) for row in await db.fetch(tenant_id, _ALL, (tenant_id,))]


async def versions(db: Database, tenant_id: int, name: str) -> list[ChannelVersion]:
    """Return the definitions of a channel, the newest first; none where there is no such channel."""
    return [ChannelVersion(*row) for row in await db.fetch(tenant_id, _VERSIONS, (tenant_id, name))]


async def newest(tx: Tx, name: str) -> ChannelVersion | None:
    """Return the newest definition of a channel, or None."""
    rows = await tx.fetch(f"{_VERSIONS} limit 1", (tx.tenant_id, name))
    return ChannelVersion(*rows[0]) if rows else None


async def former(tx: Tx, name: str) -> int | None:
    """Return the number of the definition before the one that works, or None."""
    sql = (
        "select max(v.version) from channel c join channel_version v using (tenant_id, name)"
        " where c.tenant_id = %s and c.name = %s and v.version < c.version"
    )
    ((version,),) = await tx.fetch(sql, (tx.tenant_id, name))
    return None if version is None else int(version)


async def save(
    tx: Tx, name: str, definition: dict[str, Any], author: str, note: str | None, now: datetime, *, work: bool
) -> int:
    """Add a definition and return its number; `work` makes it the one that works, as the first does in any case."""
    # The channel's row is the lock: two who save at once get numbers one after the other.
    ((working,),) = await tx.fetch(_TAKE, (tx.tenant_id, name, now))
    values = (tx.tenant_id, name, definition, author, note, now, tx.tenant_id, name)
    ((version,),) = await tx.fetch(_ADD, values)
    if work or not working:
        tx.defer(_PROMOTE, (version, now, tx.tenant_id, name))
        _ring(tx)
    return int(version)


async def promote(tx: Tx, name: str, version: int, now: datetime) -> int:
    """Have a definition work from now on, and return the one that did. Raises NotFound where the channel has none."""
    sql = "select c.version from channel c join channel_version v using (tenant_id, name)"
    found = await tx.fetch(
        f"{sql} where c.tenant_id = %s and c.name = %s and v.version = %s for update of c",
        (tx.tenant_id, name, version),
    )
    if not found:
        raise NotFound(f"there is no version {version} of a channel {name[:80]!r}")
    tx.defer(_PROMOTE, (version, now, tx.tenant_id, name))
    _ring(tx)
    return int(found[0][0])


async def set_state(tx: Tx, name: str, state: ChannelState, now: datetime) -> ChannelState:
    """Change what a channel does, and return what it did. Raises NotFound where there is no such channel.

    One that goes on working has what was parked for it due at once, in its order.
    """
    sql = "select state from channel where tenant_id = %s and name = %s for update"
    found = await tx.fetch(sql, (tx.tenant_id, name))
    if not found:
        raise NotFound(f"there is no channel {name[:80]!r}")
    change = "update channel set state = %s, changed = %s where tenant_id = %s and name = %s"
    tx.defer(change, (state, now, tx.tenant_id, name))
    if state != "paused":
        tx.defer(_UNPARK, (now, tx.tenant_id, MESSAGE, PARKED, name))
        tx.defer("select pg_notify(%s, '')", (CHANNEL,))
    _ring(tx)
    before: ChannelState = found[0][0]
    return before


# What a worker met while the channel was paused is due at the end of time, so that it keeps its place.
PARKED = datetime(9999, 12, 31, tzinfo=UTC)
_UNPARK = """
update job_ticket t set due = %s from inbox i
where t.tenant_id = %s and t.kind = %s and t.due = %s
    and i.tenant_id = t.tenant_id and i.received = t.received and i.id = t.target and i.channel = %s
"""
_PARK = """
update job_ticket set due = %s, rank = null where tenant_id = %s and order_hash = %s and id = %s and exists
    (select from channel where tenant_id = %s and name = %s and state = 'paused' for share)
"""


def park(tx: Tx, ticket: Ticket, name: str) -> None:
    """Queue that a ticket waits for its channel to go on; where the channel goes on already, it stays due."""
    key = (ticket.tenant_id, ticket.order_hash, ticket.id)
    tx.defer(_PARK, (PARKED, *key, ticket.tenant_id, name))


async def generations(db: Database) -> list[tuple[Tenant, int]]:
    """Return the tenants that have or had channels, each with a number that grows when one of them changes."""
    sql = "select id, name, channel_generation from tenant where channel_generation > 0"
    return [(Tenant(id_, name), generation) for id_, name, generation in await db.fetch(None, sql)]


def _ring(tx: Tx) -> None:
    tx.defer("update tenant set channel_generation = channel_generation + 1 where id = %s", (tx.tenant_id,))
    tx.defer("select pg_notify(%s, '')", (BELL,))
