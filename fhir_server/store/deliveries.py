"""Deliveries on their way: claimed in order per key, sent, and what came of it recorded.

A delivery is leased, not locked, while it is sent: no transaction waits for another's server. Who does not come back in
time has lost it, and it is sent again under the same ids: at least once, never not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from fhir_server.store import message_bytes, tickets
from fhir_server.store.database import Tx
from fhir_server.store.lifted import Lifted
from fhir_server.store.outbox import Sends, State, payload_of
from fhir_server.store.tickets import DELIVERY, Ticket

# What waits for a person, at the head of its order, is due at the end of time.
PARKED = datetime(9999, 12, 31, tzinfo=UTC)


class Lane(msgspec.Struct, frozen=True):
    """A destination that has something due, since when."""

    lane: int
    due: datetime


class Standing(msgspec.Struct, frozen=True):
    """How a destination fares: failures in a row, until when nothing is sent, and what else keeps it."""

    failures: int = 0
    closed_until: datetime | None = None
    stopped_by: int | None = None
    paused: bool = False


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery whose ticket is locked; `attempts` are those before, `raw` is the message, None where it is gone.

    Where `lifted` names documents, `raw` is without them.
    """

    ticket: Ticket
    lane: int
    received: datetime
    id: int
    message_id: int
    channel: str
    destination: str
    sends: Sends
    state: State
    attempts: int
    tries: int
    control_id: str | None
    refs: Sequence[str] | None
    payload: bytes | None
    raw: bytes | None
    content_hash: bytes
    lifted: Sequence[Lifted] = ()
    standing: Standing

    @property
    def tenant_id(self) -> int:
        """Return whose delivery it is."""
        return self.ticket.tenant_id


# Each step of the recursion finds the next destination in the index, however much waits for one.
_LANES = f"""
with recursive known as (
    (select lane from job_ticket where kind = {DELIVERY} and lane is not null and due is not null
     order by lane limit 1)
    union all
    select (select t.lane from job_ticket t where t.kind = {DELIVERY} and t.due is not null and t.lane > known.lane
            order by t.lane limit 1)
    from known where known.lane is not null
)
select known.lane, first.due from known cross join lateral
    (select due from job_ticket t where t.kind = {DELIVERY} and t.lane = known.lane and t.due <= %s
     order by t.due limit 1) first
where known.lane is not null order by first.due
"""  # noqa: S608
_CLAIM = f"""
select id, tenant_id, kind, received, target, order_hash from job_ticket
where kind = {DELIVERY} and lane = %s and due <= %s order by due, id limit 1 for update skip locked
"""  # noqa: S608
_LOAD = """
select d.message_id, d.channel, d.destination, d.sends, d.state, d.attempts, d.tries, d.control_id, d.refs, d.payload,
    d.content_key, i.raw, i.content_hash, i.codec, s.failures, s.closed_until, s.stopped_by, s.paused
from delivery d left join inbox i on i.tenant_id = d.tenant_id and i.received = d.received and i.id = d.message_id
left join destination s on s.tenant_id = d.tenant_id and s.channel = d.channel and s.name = d.destination
where d.tenant_id = %s and d.received = %s and d.id = %s
"""


async def lanes(tx: Tx, now: datetime) -> list[Lane]:
    """Return the destinations that have something due, what has been due for longest first."""
    return [Lane(*row) for row in await tx.fetch(_LANES, (now,))]


async def claim(tx: Tx, lane: int, now: datetime) -> Claimed | None:
    """Lock what has been due for longest in a lane; None where nothing is, or others are at it.

    `tx` is a transaction without tenant; it gets the delivery's.
    """
    while rows := await tx.fetch(_CLAIM, (lane, now)):
        ticket = Ticket(*rows[0])
        tx.set_tenant(ticket.tenant_id)
        found = await tx.fetch(_LOAD, (ticket.tenant_id, ticket.received, ticket.target))
        if found and ticket.received is not None:
            return await _loaded(tx, ticket, lane, ticket.received, *found[0])
        tickets.clear(tx, ticket)
    return None


async def _loaded(tx: Tx, ticket: Ticket, lane: int, received: datetime, *row: Any) -> Claimed:
    message_id, channel, destination, sends, state, attempts, tries, control_id, refs, payload, key, *rest = row
    raw, content_hash, codec, failures, *more = rest
    db, tenant_id = tx.database, ticket.tenant_id
    opened = None if raw is None else await message_bytes.opened_message(db, tenant_id, content_hash, raw, codec)
    return Claimed(
        ticket=ticket,
        lane=lane,
        received=received,
        id=ticket.target,
        message_id=message_id,
        channel=channel,
        destination=destination,
        sends=sends,
        state=state,
        attempts=attempts,
        tries=tries,
        control_id=control_id,
        refs=refs,
        payload=payload and await db.unseal(tenant_id, payload_of(key), payload),
        raw=opened.raw if opened else None,
        lifted=opened.lifted if opened else (),
        content_hash=content_hash or b"",
        standing=Standing(failures, *more) if failures is not None else Standing(),
    )


_LEASE = """
update delivery set state = 'sending', attempts = attempts + 1, due = %s
where tenant_id = %s and received = %s and id = %s
"""
_BEGIN = """
insert into delivery_attempt (tenant_id, received, delivery_id, number, began, request, request_bytes)
values (%s, %s, %s, %s, %s, %s, %s)
"""


def lease(tx: Tx, one: Claimed, now: datetime, until: datetime, request: bytes, kept: int) -> None:
    """Queue that the delivery is being sent until then, and what is: of the request at most `kept` bytes are kept.

    Those behind it in its order wait; who is not done by then has lost it.
    """
    key = (one.tenant_id, one.received, one.id)
    tickets.postpone(tx, one.ticket, until)
    tx.defer(_LEASE, (until, *key))
    place = request_of(one.id, one.attempts + 1)
    sealed = tx.database.keyring.seal(one.tenant_id, place, request[:kept])
    tx.defer(_BEGIN, (*key, one.attempts + 1, now, sealed, len(request)))


def request_of(id_: int, number: int) -> bytes:
    """Return to what the request of an attempt is bound beside its tenant."""
    return b"delivery/request/%d/%d" % (id_, number)


def answer_of(id_: int, number: int) -> bytes:
    """Return to what the answer of an attempt is bound."""
    return b"delivery/answer/%d/%d" % (id_, number)


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended: what becomes of the delivery, by when it is tried again, and what the other side said."""

    state: State
    reason: str | None = None
    due: datetime | None = None
    counts: bool = True
    answer: bytes = b""


_ATTEMPT = """
update delivery_attempt set ended = %s, outcome = %s, reason = %s, answer = %s, answer_bytes = %s
where tenant_id = %s and received = %s and delivery_id = %s and number = %s
"""
_STILL = "select state, attempts from delivery where tenant_id = %s and received = %s and id = %s for update"
_END = """
update delivery set state = %s, tries = tries + %s, due = %s, finished = %s, reason = %s
where tenant_id = %s and received = %s and id = %s
"""


async def end(tx: Tx, one: Claimed, ended: Ended, now: datetime, kept: int) -> bool:
    """Record how an attempt ended; False where the delivery is not ours any more, because it took too long.

    One that is to be tried again keeps its place; one whose `due` is PARKED keeps it until a person looks; all else
    gives it to the next of its order.
    """
    key, number = (one.tenant_id, one.received, one.id), one.attempts + 1
    sealed = ended.answer and tx.database.keyring.seal(one.tenant_id, answer_of(one.id, number), ended.answer[:kept])
    still = await tx.fetch(_STILL, key)
    tx.defer(_ATTEMPT, (now, ended.state, ended.reason, sealed or None, len(ended.answer), *key, number))
    if still != [("sending", number)]:
        return False
    finished = None if ended.state == "queued" else now
    tx.defer(_END, (ended.state, int(ended.counts), ended.due, finished, ended.reason, *key))
    if ended.due is not None:
        tickets.postpone(tx, one.ticket, ended.due)
    else:
        tickets.remove(tx, one.ticket)
    return True


def give_up(tx: Tx, one: Claimed, ended: Ended, now: datetime) -> None:
    """Queue that a claimed delivery is not even tried, and why."""
    tx.defer(_END, (ended.state, 0, ended.due, now, ended.reason, one.tenant_id, one.received, one.id))
    if ended.due is not None:
        tickets.postpone(tx, one.ticket, ended.due)
    else:
        tickets.remove(tx, one.ticket)
