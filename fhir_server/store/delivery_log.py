"""What operators ask of deliveries: which, what exactly was sent and answered, send it again, send it never."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from fhir_server.store import tickets
from fhir_server.store.database import Database, Tx
from fhir_server.store.deliveries import answer_of, request_of
from fhir_server.store.outbox import BELL, Sends, State
from fhir_server.store.tickets import DELIVERY


class Row(msgspec.Struct, frozen=True):
    """A delivery without what is sent; `reason` is why it is not done."""

    id: int
    message_id: int
    received: datetime
    channel: str
    destination: str
    sends: Sends
    state: State
    attempts: int
    created: datetime
    due: datetime | None
    finished: datetime | None
    reason: str | None
    control_id: str | None
    message_type: str | None
    trigger: str | None
    refs: list[str] | None


class Attempt(msgspec.Struct, frozen=True):
    """One try: what was sent and answered, as far as it is kept. Without an end it is under way, or its process died.

    `request` is None where it is that of the attempt before.
    """

    number: int
    began: datetime
    ended: datetime | None
    outcome: str | None
    reason: str | None
    request: bytes | None
    request_bytes: int
    answer: bytes | None
    answer_bytes: int


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries; what is not named is any."""

    states: Sequence[State] = ()
    channel: str | None = None
    destination: str | None = None
    message_id: int | None = None
    ids: Sequence[int] = ()

    @property
    def all(self) -> bool:
        """Tell whether nothing is named, so that all deliveries of the tenant are meant."""
        return not any(msgspec.structs.asdict(self).values())


_COLUMNS = ", ".join(Row.__struct_fields__)
_WHERE = """
tenant_id = %s and (%s::text[] is null or state = any(%s)) and (%s::text is null or channel = %s)
and (%s::text is null or destination = %s) and (%s::bigint is null or message_id = %s)
and (%s::bigint[] is null or id = any(%s))
"""
_NEWEST = 2**63 - 1


def _asked(tenant_id: int, wanted: Wanted) -> tuple[object, ...]:
    states, ids = list(wanted.states) or None, list(wanted.ids) or None
    names = (wanted.channel, wanted.channel, wanted.destination, wanted.destination)
    return (tenant_id, states, states, *names, wanted.message_id, wanted.message_id, ids, ids)


async def listed(
    db: Database, tenant_id: int, wanted: Wanted, *, before: int | None = None, limit: int = 50
) -> list[Row]:
    """Return at most `limit` deliveries, the newest first; the next page is `before` the last one's id."""
    sql = f"select {_COLUMNS} from delivery where {_WHERE} and id < %s order by id desc limit %s"  # noqa: S608
    params = (*_asked(tenant_id, wanted), _NEWEST if before is None else before, limit)
    return [Row(*row) for row in await db.fetch(tenant_id, sql, params, custom_plan=True)]


async def show(db: Database, tenant_id: int, id_: int) -> tuple[Row, list[Attempt]] | None:
    """Return a delivery with its tries, the first one first; None where the tenant has none of this id."""
    found = await listed(db, tenant_id, Wanted(ids=[id_]), limit=1)
    if not found:
        return None
    columns = ", ".join(Attempt.__struct_fields__)
    sql = f"select {columns} from delivery_attempt where tenant_id = %s and delivery_id = %s order by number"  # noqa: S608
    rows = [Attempt(*row) for row in await db.fetch(tenant_id, sql, (tenant_id, id_))]
    return found[0], [await _opened(db, tenant_id, id_, row) for row in rows]


async def _opened(db: Database, tenant_id: int, id_: int, row: Attempt) -> Attempt:
    request = row.request and await db.unseal(tenant_id, request_of(id_, row.number), row.request)
    answer = row.answer and await db.unseal(tenant_id, answer_of(id_, row.number), row.answer)
    return msgspec.structs.replace(row, request=request, answer=answer)


class Moved(msgspec.Struct, frozen=True):
    """A delivery that was changed: its destination, its order, and what it was before."""

    id: int
    received: datetime
    channel: str
    destination: str
    order_hash: int
    lane: int
    before: State


# Not what is being sent: whoever does will say what became of it.
_LOCK = f"""
select id, received, channel, destination, order_hash, lane, state from delivery where {_WHERE} and state = any(%s)
order by id limit %s for update
"""  # noqa: S608
_QUEUE = """
update delivery set state = 'queued', tries = 0, due = null, finished = null
where tenant_id = %s and id = any(%s::bigint[])
"""
# Those that kept their place go from there, the others to the end of their order.
_DUE = f"""
update job_ticket t set due = %s from unnest(%s::bigint[], %s::bigint[]) u (target, order_hash)
where t.tenant_id = %s and t.kind = {DELIVERY} and t.order_hash = u.order_hash and t.target = u.target
    and t.due is not null
"""  # noqa: S608
_AGAIN = f"""
insert into job_ticket (tenant_id, kind, received, target, order_hash, queued, lane, due)
select %s, {DELIVERY}, u.received, u.target, u.order_hash, %s, u.lane,
       case when row_number() over (partition by u.order_hash order by u.target) = 1 and not exists
           (select 1 from job_ticket t where t.tenant_id = %s and t.order_hash = u.order_hash) then %s::timestamptz end
from unnest(%s::timestamptz[], %s::bigint[], %s::bigint[], %s::bigint[]) u (received, target, order_hash, lane)
where not exists (select 1 from job_ticket t
    where t.tenant_id = %s and t.kind = {DELIVERY} and t.order_hash = u.order_hash and t.target = u.target)
order by u.target
"""  # noqa: S608
_AGAIN_FROM: tuple[State, ...] = ("queued", "held", "failed", "cancelled", "done")


async def retry(tx: Tx, wanted: Wanted, now: datetime, most: int) -> list[Moved]:
    """Have deliveries be due, whatever became of them before, and return them; at most so many."""
    assert tx.tenant_id is not None
    moved = await _locked(tx, wanted, _AGAIN_FROM, most)
    if moved:
        ids, orders = [one.id for one in moved], [one.order_hash for one in moved]
        tx.defer(*tickets.lock_orders(orders))
        tx.defer(_QUEUE, (tx.tenant_id, ids))
        tx.defer(_DUE, (now, ids, orders, tx.tenant_id))
        rows = ([one.received for one in moved], ids, orders, [one.lane for one in moved])
        tx.defer(_AGAIN, (tx.tenant_id, now, tx.tenant_id, now, *rows, tx.tenant_id))
        tx.defer("select pg_notify(%s, '')", (BELL,))
    return moved


_CANCEL = """
update delivery set state = 'cancelled', due = null, finished = %s where tenant_id = %s and id = any(%s::bigint[])
"""
_GONE = f"""
delete from job_ticket t using unnest(%s::bigint[], %s::bigint[]) u (target, order_hash)
where t.tenant_id = %s and t.kind = {DELIVERY} and t.order_hash = u.order_hash and t.target = u.target
"""  # noqa: S608
_NEXT = """
update job_ticket t set due = t.queued from unnest(%s::bigint[]) o (order_hash)
where t.tenant_id = %s and t.due is null and t.order_hash = o.order_hash and t.id =
    (select f.id from job_ticket f where f.tenant_id = %s and f.order_hash = o.order_hash order by f.id limit 1)
"""


async def cancel(tx: Tx, wanted: Wanted, now: datetime, most: int) -> list[Moved]:
    """Have deliveries never be sent, unless somebody says so again, and return them; those behind them go on."""
    assert tx.tenant_id is not None
    moved = await _locked(tx, wanted, ("queued", "held", "failed"), most)
    if moved:
        ids, orders = [one.id for one in moved], [one.order_hash for one in moved]
        tx.defer(*tickets.lock_orders(orders))
        tx.defer(_CANCEL, (now, tx.tenant_id, ids))
        tx.defer(_GONE, (ids, orders, tx.tenant_id))
        tx.defer(_NEXT, (sorted(set(orders)), tx.tenant_id, tx.tenant_id))
        tx.defer("select pg_notify(%s, '')", (BELL,))
    return moved


async def _locked(tx: Tx, wanted: Wanted, states: Sequence[State], most: int) -> list[Moved]:
    rows = await tx.fetch(_LOCK, (*_asked(tx.tenant_id or 0, wanted), list(states), most))
    return [Moved(*row) for row in rows]


async def counts(db: Database, tenant_id: int) -> dict[tuple[str, str, State], int]:
    """Return how many deliveries are not done, by channel, destination and state."""
    sql = (
        "select channel, destination, state, count(*) from delivery where tenant_id = %s and state <> 'done'"
        " group by channel, destination, state"
    )
    return {(channel, name, state): n for channel, name, state, n in await db.fetch(tenant_id, sql, (tenant_id,))}
