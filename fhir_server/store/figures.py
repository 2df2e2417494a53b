"""What channels did, as counts: in every five minutes and since ever. Nothing of a patient stands in a count.

Processes count in memory and add what they counted every few seconds: no write of a message waits for a count, and a
process that is killed loses the counts of its last seconds, never a message.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from fhir_server.context import Tenant
from fhir_server.store.database import Database, Tx

# The slot that counts since ever, and how long each other one is.
EVER = datetime(1970, 1, 1, tzinfo=UTC)
SLOT = timedelta(minutes=5)
# Upper bounds of the time of an acknowledgement, in seconds.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, math.inf)
# Of these a sender was heard of: kept, the same again, refused, or not to be stored.
CAME = ("received", "repeated", "rejected", "unstored")
# So many waiting messages of a tenant are counted; more are not told from them.
MOST_WAITING = 100_000


class Counted(NamedTuple):
    """What happened how often in a slot, and when last."""

    channel: str
    slot: datetime
    what: str
    number: int
    last: datetime


class Waiting(msgspec.Struct, frozen=True):
    """Messages of a channel that wait to be processed, and since when the oldest does."""

    count: int
    oldest: datetime


_ADD = """
insert into channel_count (tenant_id, channel, slot, what, count, last)
select %s, g.* from unnest(%s::text[], %s::timestamptz[], %s::text[], %s::bigint[], %s::timestamptz[])
    g (channel, slot, what, count, last)
order by channel, slot, what
on conflict (tenant_id, channel, slot, what) do update
set count = channel_count.count + excluded.count, last = greatest(channel_count.last, excluded.last)
"""
_WATCH = "insert into watched_tenant (tenant_id, looked) values (%s, %s) on conflict do nothing"
_WAITING = """
select channel, count(*), min(received) from
    (select channel, received from inbox where tenant_id = %s and state = 'received' order by received limit %s) w
group by channel
"""
_SINCE = """
select channel, slot, what, count, last from channel_count where tenant_id = %s and slot >= %s
union all
select channel, slot, what, count, last from channel_count where tenant_id = %s and slot = %s
"""
_HEARD = """
insert into listener_process (process, seen, connections, refused) values (%s, %s, %s, %s)
on conflict (process) do update set seen = excluded.seen, connections = excluded.connections, refused = excluded.refused
"""
# What a process that is gone had refused stays counted, under the number of none.
_GONE = """
with gone as (delete from listener_process where seen < %s and process <> %s returning refused)
insert into listener_process (process, seen, connections, refused)
select %s, %s, 0, sum(refused) from gone having count(*) > 0
on conflict (process) do update set refused = listener_process.refused + excluded.refused
"""
_NONE = uuid.UUID(int=0)


def slot(moment: datetime) -> datetime:
    """Return the beginning of the slot of a moment."""
    return EVER + (moment - EVER) // SLOT * SLOT


async def add(db: Database, tenant_id: int, counted: Iterable[Counted]) -> None:
    """Add counts to what is there, and have the tenant looked at. Raises errors.Busy."""
    columns = [list(column) for column in zip(*counted, strict=True)]
    if columns:
        await db.run(tenant_id, (_ADD, (tenant_id, *columns)), (_WATCH, (tenant_id, EVER)))


_HIGHEST = """
insert into channel_count (tenant_id, channel, slot, what, count, last) values (%s, %s, %s, 'oldest', %s, %s)
on conflict (tenant_id, channel, slot, what) do update
set count = greatest(channel_count.count, excluded.count), last = excluded.last
"""


def waited(tx: Tx, channel: str, found: Waiting, now: datetime) -> None:
    """Queue that the oldest message of a channel waits for so long: of each slot the longest is kept, in seconds."""
    seconds = int((now - found.oldest).total_seconds())
    tx.defer(_HIGHEST, (tx.tenant_id, channel, slot(now), seconds, now))


async def since(db: Database, tenant_id: int, moment: datetime) -> list[Counted]:
    """Return the counts of the slots from a moment on, and those since ever."""
    return [Counted(*row) for row in await db.fetch(tenant_id, _SINCE, (tenant_id, moment, tenant_id, EVER))]


_BARS = """
select channel, date_bin(%s::interval, slot, %s), what,
    case what when 'oldest' then max(count) else sum(count)::bigint end, max(last)
from channel_count where tenant_id = %s and slot >= %s group by 1, 2, 3
union all
select channel, slot, what, count, last from channel_count where tenant_id = %s and slot = %s
"""


async def bars(db: Database, tenant_id: int, moment: datetime, width: timedelta) -> list[Counted]:
    """Return what `since` does, slots of a `width` together: their sum, and of what waited the longest."""
    params = (f"{int(width.total_seconds())} s", EVER, tenant_id, moment, tenant_id, EVER)
    return [Counted(*row) for row in await db.fetch(tenant_id, _BARS, params)]


async def ever(db: Database, tenant_id: int) -> list[Counted]:
    """Return the counts since ever."""
    sql = "select channel, slot, what, count, last from channel_count where tenant_id = %s and slot = %s"
    return [Counted(*row) for row in await db.fetch(tenant_id, sql, (tenant_id, EVER))]


async def waiting(db: Database, tenant_id: int) -> dict[str, Waiting]:
    """Return what waits by channel; beyond the oldest MOST_WAITING of the tenant nothing is counted."""
    rows = await db.fetch(tenant_id, _WAITING, (tenant_id, MOST_WAITING))
    return {channel: Waiting(count, oldest) for channel, count, oldest in rows}


async def watched(db: Database) -> list[Tenant]:
    """Return the tenants of which there is something to be watched, by name."""
    sql = "select t.id, t.name from watched_tenant w join tenant t on t.id = w.tenant_id order by t.name"
    return [Tenant(*row) for row in await db.fetch(None, sql)]


async def forget(db: Database, tenant_id: int, before: datetime) -> None:
    """Take away slots that began before a moment; what is counted since ever stays."""
    sql = "delete from channel_count where tenant_id = %s and slot < %s and slot <> %s"
    await db.fetch(tenant_id, sql, (tenant_id, before, EVER))


async def heard(db: Database, process: uuid.UUID, now: datetime, connections: int, refused: int) -> None:
    """Keep what a listening process has open, and has refused since it began."""
    await db.fetch(None, _HEARD, (process, now, connections, refused))


async def connections(db: Database, now: datetime, alive: timedelta = timedelta(minutes=1)) -> Mapping[str, int]:
    """Return `open` connections of the processes that live, and those `refused` since ever by any.

    Those of processes that were not heard for ten minutes are folded into one row.
    """
    await db.fetch(None, _GONE, (now - timedelta(minutes=10), _NONE, _NONE, EVER))
    sql = (
        "select coalesce(sum(connections) filter (where seen >= %s), 0)::bigint, coalesce(sum(refused), 0)::bigint"
        " from listener_process"
    )
    ((found, refused),) = await db.fetch(None, sql, (now - alive,))
    return {"open": found, "refused": refused}
