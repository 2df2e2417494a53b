"""Tickets: what is to be done, in order per key, claimed by whoever is free, across tenants.

A ticket tells nothing of a patient. The first of its order has a `due`; those behind it have none and cost a claim
nothing. It stays locked inside the transaction that does the work and is deleted by it: a worker that dies gives it
back, and what was done is done exactly once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import structlog

from fhir_server.store.database import Tx

MESSAGE, JOB, DELIVERY = 1, 2, 3
CHANNEL = "concord_jobs"
# What is done under a claimed ticket can be taken back to here without losing the claim.
WORK = "work"


log = structlog.get_logger(__name__)


class Ticket(msgspec.Struct, frozen=True):
    """A claimed piece of work; `received` is None but for a message."""

    id: int
    tenant_id: int
    kind: int
    received: datetime | None
    target: int
    order_hash: int


_CLAIM = """
select id, tenant_id, kind, received, target, order_hash from job_ticket
where kind = %s and due <= %s order by due, id limit 1 for update skip locked
"""
# Its first line decides whose: all that are claimed together belong to one tenant.
_CLAIM_SEVERAL = """
with first as materialized (
    select tenant_id from job_ticket where kind = %s and due <= %s order by due, id limit 1 for update skip locked)
select id, tenant_id, kind, received, target, order_hash from job_ticket
where kind = %s and due <= %s and tenant_id = (select tenant_id from first) order by due, id limit %s
for update skip locked
"""
_LOCK = "select pg_advisory_xact_lock((hash >> 32)::int, hash::bit(32)::int) from unnest(%s::bigint[]) hash"
_POSTPONE = "update job_ticket set due = %s where tenant_id = %s and order_hash = %s and id = %s"
_DELETE = "delete from job_ticket where tenant_id = %s and order_hash = %s and id = %s"
_PROMOTE = """
update job_ticket set due = queued where due is null and tenant_id = %s and order_hash = %s and id =
    (select id from job_ticket where tenant_id = %s and order_hash = %s order by id limit 1)
"""
# Adds tickets for the rows of `{source}` (received, target, order_hash, queued): the first of an order that is empty
# is due at once, all others wait. Only under the locks of `lock_orders` is that still so when this commits.
ADD = """
insert into job_ticket (tenant_id, kind, received, target, order_hash, queued, due)
select %s, {kind}, s.received, s.target, s.order_hash, s.queued,
       case when row_number() over (partition by s.order_hash order by s.target) = 1 and not exists
           (select 1 from job_ticket t where t.tenant_id = %s and t.order_hash = s.order_hash) then s.queued end
from {source} s order by s.target
"""


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


async def claim_several(tx: Tx, kind: int, now: datetime, most: int) -> list[Ticket]:
    """Lock up to `most` tickets as `claim` does one: of one tenant, each the first of its order, longest due first."""
    due = (kind, now)
    rows = await (tx.fetch(_CLAIM, due) if most == 1 else tx.fetch(_CLAIM_SEVERAL, (*due, *due, most)))
    claimed = [Ticket(*row) for row in rows]
    if claimed:
        tx.set_tenant(claimed[0].tenant_id)
        tx.savepoint(WORK)
    return claimed


def postpone(tx: Tx, ticket: Ticket, due: datetime) -> None:
    """Queue that the ticket is tried again at `due`; those behind it wait for it."""
    tx.defer(_POSTPONE, (due, *_key(ticket)))


def remove(tx: Tx, *done: Ticket) -> None:
    """Queue that tickets are done with and the next of their orders are due."""
    for ticket in done:
        tx.defer(_DELETE, _key(ticket))
    tx.defer(*lock_orders([ticket.order_hash for ticket in done]))
    for ticket in done:
        tx.defer(_PROMOTE, (ticket.tenant_id, ticket.order_hash) * 2)


def clear(tx: Tx, ticket: Ticket) -> None:
    """Queue that a ticket goes whose work is no longer there, as after its day was dropped, and log it."""
    log.warning("a ticket without its work was cleared", tenant=ticket.tenant_id, message_id=ticket.target)
    remove(tx, ticket)


def _key(ticket: Ticket) -> tuple[int, int, int]:
    return ticket.tenant_id, ticket.order_hash, ticket.id
