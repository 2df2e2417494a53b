"""How destinations fare: the breaker that spares a receiver in trouble, and what else keeps deliveries back.

What is kept back is due at the very moment that stands in the destination's row, so that it can be told from what waits
for its own next try, and let go all together.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from fhir_server.store.database import Database, Tx
from fhir_server.store.deliveries import PARKED
from fhir_server.store.outbox import BELL
from fhir_server.store.tickets import DELIVERY


class Place(NamedTuple):
    """A destination: its channel, its name, and the lane of its tickets."""

    channel: str
    name: str
    lane: int


class Seen(msgspec.Struct, frozen=True):
    """A destination as people see it."""

    channel: str
    name: str
    failures: int
    closed_until: datetime | None
    stopped_by: int | None
    paused: bool
    reason: str | None
    changed: datetime


# Rows that others work on are left: whoever does meets the breaker by himself.
_MOVE = """
update job_ticket t set due = %s from (
    select tenant_id, order_hash, id from job_ticket
    where kind = {kind} and tenant_id = %s and lane = %s and due {which} %s for update skip locked) k
where t.tenant_id = k.tenant_id and t.order_hash = k.order_hash and t.id = k.id
"""
_KEEP_BACK = _MOVE.format(kind=DELIVERY, which="<=")
_LET_GO = _MOVE.format(kind=DELIVERY, which="=")


def keep_back(tx: Tx, place: Place, now: datetime, until: datetime) -> None:
    """Queue that all that is due there waits until then."""
    tx.defer(_KEEP_BACK, (until, tx.tenant_id, place.lane, now))


_PROBE = """
update destination set closed_until = %s, changed = %s where tenant_id = %s and channel = %s and name = %s
    and closed_until <= %s returning 1
"""


async def probe(tx: Tx, place: Place, now: datetime, until: datetime) -> bool:
    """Tell whether we are the one who tries whether the receiver is there again; nobody else does until then."""
    return bool(await tx.fetch(_PROBE, (until, now, tx.tenant_id, place.channel, place.name, now)))


# The pause doubles with each failure after the first ones.
_FAILED = """
insert into destination as d (tenant_id, channel, name, failures, closed_until, reason, changed)
values (%s, %s, %s, 1, case when 1 >= %s then %s::timestamptz end, %s, %s)
on conflict (tenant_id, channel, name) do update set failures = d.failures + 1, changed = excluded.changed,
    reason = excluded.reason,
    closed_until = case when d.failures + 1 >= %s then
        excluded.changed + least(%s, %s * 2.0 ^ least(d.failures + 1 - %s, 30)) * interval '1 second' end
returning closed_until
"""


class Patience(NamedTuple):
    """After how many failures in a row a breaker opens, and for how many seconds at first and at most."""

    failures: int
    pause: float
    most: float


async def failed(tx: Tx, place: Place, patience: Patience, reason: str, now: datetime) -> datetime | None:
    """Count a failure; return until when nothing is sent, None where the breaker stays closed."""
    first = now + timedelta(seconds=patience.pause)
    values = (tx.tenant_id, place.channel, place.name, patience.failures, first, reason, now)
    more = (patience.failures, patience.most, patience.pause, patience.failures)
    ((until,),) = await tx.fetch(_FAILED, (*values, *more))
    if until is None:
        return None
    keep_back(tx, place, now, until)
    moment: datetime = until
    return moment


_WORKED = """
with was as (
    select closed_until from destination where tenant_id = %s and channel = %s and name = %s
        and (failures > 0 or closed_until is not null) for update
), mended as (
    update destination d set failures = 0, closed_until = null, reason = null, changed = %s from was
    where d.tenant_id = %s and d.channel = %s and d.name = %s
), kept as (
    select tenant_id, order_hash, id from job_ticket
    where kind = 3 and tenant_id = %s and lane = %s and due = (select closed_until from was) for update skip locked
)
update job_ticket t set due = %s from kept k
where t.tenant_id = k.tenant_id and t.order_hash = k.order_hash and t.id = k.id
"""


def worked(tx: Tx, place: Place, now: datetime) -> None:
    """Queue that the receiver answered as it should: the breaker closes, and what it kept back is due."""
    key = (tx.tenant_id, place.channel, place.name)
    tx.defer(_WORKED, (*key, now, *key, tx.tenant_id, place.lane, now))


_STOP = """
insert into destination as d (tenant_id, channel, name, stopped_by, reason, changed) values (%s, %s, %s, %s, %s, %s)
on conflict (tenant_id, channel, name) do update
set stopped_by = coalesce(d.stopped_by, excluded.stopped_by), reason = excluded.reason, changed = excluded.changed
"""
_GO_ON = """
update destination set stopped_by = null, changed = %s where tenant_id = %s and channel = %s and name = %s
    and stopped_by = %s
"""


def stop(tx: Tx, place: Place, delivery: int, reason: str, now: datetime) -> None:
    """Queue that all of a destination waits until a person has looked at this delivery."""
    tx.defer(_STOP, (tx.tenant_id, place.channel, place.name, delivery, reason, now))
    keep_back(tx, place, now, PARKED)


def go_on(tx: Tx, place: Place, delivery: int, now: datetime) -> None:
    """Queue that a person has looked at a delivery: what waited for it is due."""
    tx.defer(_GO_ON, (now, tx.tenant_id, place.channel, place.name, delivery))
    tx.defer(_LET_GO, (now, tx.tenant_id, place.lane, PARKED))


_PAUSE = """
insert into destination as d (tenant_id, channel, name, paused, changed) values (%s, %s, %s, %s, %s)
on conflict (tenant_id, channel, name) do update set paused = excluded.paused, changed = excluded.changed
"""


def set_paused(tx: Tx, place: Place, now: datetime, *, paused: bool) -> None:
    """Queue that nothing is sent there until a person says so, or that it is again."""
    tx.defer(_PAUSE, (tx.tenant_id, place.channel, place.name, paused, now))
    if not paused:
        tx.defer(_LET_GO, (now, tx.tenant_id, place.lane, PARKED))
        tx.defer("select pg_notify(%s, '')", (BELL,))


async def all_of(db: Database, tenant_id: int) -> list[Seen]:
    """Return the destinations of a tenant that ever were in trouble, by channel and name."""
    columns = ", ".join(Seen.__struct_fields__)
    sql = f"select {columns} from destination where tenant_id = %s order by channel, name"  # noqa: S608
    return [Seen(*row) for row in await db.fetch(tenant_id, sql, (tenant_id,))]
