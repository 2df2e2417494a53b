"""Tickets: what is to be done, in order per key, claimed by whoever is free, across tenants.

A ticket tells nothing of a patient. The first of its order has a `due`; those behind it have none and cost a claim
nothing. It stays locked inside the transaction that does the work and is deleted by it: a worker that dies gives it
back, and what was done is done exactly once.

What may be tried at once has a `rank`: when it was queued, less the head start of its priority. So the urgent overtake
others, and nobody waits for ever: what has waited for longer than a head start goes first. What waits for another try
has none. Work of several orders has a guard in each of the others: it holds that order back, is never claimed, and the
work waits until each of its guards is the first of its order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec
import structlog

from fhir_server.store.database import Database, Tx

MESSAGE, JOB, DELIVERY = 1, 2, 3
GUARD = 0
CHANNEL = "concord_jobs"
# What is done under a claimed ticket can be taken back to here without losing the claim.
WORK = "work"


# Seconds by which each priority goes ahead: urgent before what came in the hour before, normal before a day of bulk.
AHEAD = {"urgent": 25 * 3600, "normal": 24 * 3600, "bulk": 0}
# How soon work of several orders is looked at again that another order holds back.
_HELD = timedelta(seconds=0.2)

log = structlog.get_logger(__name__)


class Ticket(msgspec.Struct, frozen=True):
    """A claimed piece of work; `received` is None but for a message."""

    id: int
    tenant_id: int
    kind: int
    received: datetime | None
    target: int
    order_hash: int
    also: list[int] | None = None


_COLUMNS = "id, tenant_id, kind, received, target, order_hash, also"
# What is due for another try goes first: its order has waited for it. Each part walks an index of its own.
_LATE = "kind = %s and rank is null and due <= %s"
_READY = "kind = %s and rank is not null and due <= %s"
_CLAIM = f"""
with late as materialized (select {_COLUMNS} from job_ticket where {_LATE} order by due, id limit 1
    for update skip locked),
ready as materialized (select {_COLUMNS} from job_ticket where {_READY} and not exists (select from late)
    order by rank, id limit 1 for update skip locked)
select * from late union all select * from ready
"""  # noqa: S608
# Its first lines decide whose: all that are claimed together belong to one tenant. So many of the first are looked at,
# so that a tenant with few tickets costs no walk through those of others; each is locked by its own key.
_LOOK = 128
_OF_ONE = f"""
select t.* from (select tenant_id, order_hash, id from job_ticket where {{where}} limit {_LOOK}) w, lateral
    (select {_COLUMNS} from job_ticket where tenant_id = w.tenant_id and order_hash = w.order_hash and id = w.id
        and due <= %s and w.tenant_id = (select tenant_id from {{first}}) for update skip locked) t limit %s
"""  # noqa: S608
_CLAIM_SEVERAL = f"""
with late_of as materialized (select tenant_id from job_ticket where {_LATE} order by due, id limit 1
    for update skip locked),
late as materialized ({_OF_ONE.format(where=f"{_LATE} order by due, id", first="late_of")}),
ready_of as materialized (select tenant_id from job_ticket where {_READY} and not exists (select from late)
    order by rank, id limit 1 for update skip locked),
ready as materialized ({_OF_ONE.format(where=f"{_READY} order by rank, id", first="ready_of")})
select * from late union all select * from ready
"""  # noqa: S608
_LOCK = "select pg_advisory_xact_lock((hash >> 32)::int, hash::bit(32)::int) from unnest(%s::bigint[]) hash"
_POSTPONE = "update job_ticket set due = %s, rank = null where tenant_id = %s and order_hash = %s and id = %s"
_DELETE = "delete from job_ticket where tenant_id = %s and order_hash = %s and id = %s"
_UNGUARD = "delete from job_ticket where tenant_id = %s and order_hash = any(%s) and kind = 0 and target = %s"
_PROMOTE = """
update job_ticket set due = queued, rank = queued - ahead * interval '1 second'
where due is null and tenant_id = %s and order_hash = %s and id =
    (select id from job_ticket where tenant_id = %s and order_hash = %s order by id limit 1)
"""
_ADD = """
insert into job_ticket (tenant_id, kind, received, target, order_hash, queued, ahead, also, due, rank)
select %s, {kind}, a.received, a.target, a.order_hash, a.queued, a.ahead, a.also,
    case when a.first then a.queued end, case when a.first then a.queued - a.ahead * interval '1 second' end
from (select s.*, @, row_number() over (partition by s.order_hash order by s.target) = 1 and not exists
    (select 1 from job_ticket t where t.tenant_id = %s and t.order_hash = s.order_hash) as first from {source} s) a
order by a.target
"""
# Adds tickets for the rows of `{source}` (received, target, order_hash, queued): the first of an order that is empty
# is due at once, all others wait. Only under the locks of `lock_orders` is that still so when this commits.
ADD = _ADD.replace("@", "0 as ahead, null::bigint[] as also")
# The same for rows that have `ahead` and `also`, the orders in which they get a guard.
ADD_GUARDED = (
    _ADD.replace("@, ", "")
    .replace("{kind}", "a.kind")
    .replace(
        "from {source} s",
        """from
    (select received, target, order_hash, queued, ahead, also, {kind} as kind from {source} union all
     select received, target, other, queued, ahead, null, 0 from {source}, unnest(also) other) s""",
    )
)


def lock_orders(order_hashes: Sequence[int]) -> tuple[str, tuple[list[int]]]:
    """Return the statement that keeps others from adding to these orders, or taking from them, until we commit.

    Without it, a ticket added while the one before it finishes would wait for ever: neither sees the other. Their locks
    are of a kind of their own (two numbers), so that they never meet those of identifiers.
    """
    return _LOCK, (sorted(set(order_hashes)),)


async def claim(tx: Tx, kind: int, now: datetime) -> Ticket | None:
    """Lock the ticket that has been due for longest and that nobody else works on; None where there is none.

    Sets its tenant, and the savepoint to which `postpone` and `remove` can go back.
    """
    return next(iter(await claim_several(tx, kind, now, 1)), None)


async def claim_several(
    tx: Tx, kind: int, now: datetime, most: int, held: Callable[[float], None] | None = None
) -> list[Ticket]:
    """Lock up to `most` tickets as `claim` does one: of one tenant, each the first of its order, by their rank.

    `held` is told in how many seconds to look again, where a ticket waits for another order.
    """
    due = (kind, now)
    while claimed := await _claimed(tx, due, most):
        tx.set_tenant(claimed[0].tenant_id)
        free = [ticket for ticket in claimed if not ticket.also or await _is_free(tx, ticket, now)]
        if held is not None and len(free) < len(claimed):
            held(_HELD.total_seconds())
        if free:
            tx.savepoint(WORK)
            return free
    return []


async def _claimed(tx: Tx, due: tuple[int, datetime], most: int) -> list[Ticket]:
    rows = await (tx.fetch(_CLAIM, due * 2) if most == 1 else tx.fetch(_CLAIM_SEVERAL, (*due, *due, due[1], most) * 2))
    return [Ticket(*row) for row in rows]


# The first of each of the other orders must be this work's guard.
_FREE = """
select count(*) from unnest(%s::bigint[]) other, lateral
    (select kind, target from job_ticket where tenant_id = %s and order_hash = other order by id limit 1) first
where first.kind = 0 and first.target = %s
"""


async def _is_free(tx: Tx, ticket: Ticket, now: datetime) -> bool:
    """Tell whether no other order of a ticket holds it back; one that is held back is looked at soon again."""
    assert ticket.also
    ((first,),) = await tx.fetch(_FREE, (ticket.also, ticket.tenant_id, ticket.target))
    if first < len(ticket.also):
        postpone(tx, ticket, now + _HELD)
    return bool(first == len(ticket.also))


def postpone(tx: Tx, ticket: Ticket, due: datetime) -> None:
    """Queue that the ticket is tried again at `due`; those behind it wait for it."""
    tx.defer(_POSTPONE, (due, *_key(ticket)))


def remove(tx: Tx, *done: Ticket) -> None:
    """Queue that tickets are done with and the next of their orders are due."""
    for ticket in done:
        tx.defer(_DELETE, _key(ticket))
        if ticket.also:
            tx.defer(_UNGUARD, (ticket.tenant_id, ticket.also, ticket.target))
    orders = [(ticket.tenant_id, order) for ticket in done for order in (ticket.order_hash, *(ticket.also or ()))]
    tx.defer(*lock_orders([order for _, order in orders]))
    for key in orders:
        tx.defer(_PROMOTE, key * 2)


def clear(tx: Tx, ticket: Ticket) -> None:
    """Queue that a ticket goes whose work is no longer there, as after its day was dropped, and log it."""
    log.warning("a ticket without its work was cleared", tenant=ticket.tenant_id, message_id=ticket.target)
    remove(tx, ticket)


# A worker of the version before leaves guards behind.
_LEFT = """
select tenant_id, order_hash, id, target from job_ticket g where kind = 0 and queued < %s and not exists
    (select from job_ticket t where t.tenant_id = g.tenant_id and t.kind = 1 and t.target = g.target) limit 1000
"""


async def clear_guards(db: Database, before: datetime) -> int:
    """Take away guards whose work is done, and let their orders go on; return how many there were."""
    rows = await db.fetch(None, _LEFT, (before,))
    for tenant_id, order_hash, id_, _ in rows:
        key = (tenant_id, order_hash)
        await db.run(None, (_DELETE, (*key, id_)), lock_orders([order_hash]), (_PROMOTE, key * 2))
    return len(rows)


def _key(ticket: Ticket) -> tuple[int, int, int]:
    return ticket.tenant_id, ticket.order_hash, ticket.id
