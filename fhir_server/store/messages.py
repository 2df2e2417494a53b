"""What operators ask of the inbox: how many, which, what exactly, and process it again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from fhir_server.store import audit, message_bytes, tickets
from fhir_server.store.audit import Audited
from fhir_server.store.database import Database, Tx
from fhir_server.store.lifted import Lifted
from fhir_server.store.tickets import ADD_GUARDED, CHANNEL, MESSAGE

State = Literal["received", "done", "buried", "rejected", "quarantined"]


class Summary(msgspec.Struct, frozen=True):
    """A message without its bytes; `reason` has its issues as JSON, `result` what was written."""

    id: int
    received: datetime
    channel: str
    sender_app: str | None
    sender_facility: str | None
    control_id: str | None
    message_type: str | None
    trigger: str | None
    order_text: str | None
    state: State
    reused_id: bool
    attempts: int
    due: datetime | None
    processed: datetime | None
    peer: str | None
    reason: Any
    result: Any
    patients: list[str] = []
    orders: list[str] = []


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """The fields of a message as they are stored: see mappings.fields; `order` is what it is ordered by."""

    patients: tuple[tuple[str, str, str], ...] = ()
    orders: tuple[str, ...] = ()
    order: str | None = None


class Stored(msgspec.Struct, frozen=True):
    """A message with its bytes and the acknowledgement that its sender got.

    Where `lifted` names documents, `raw` is without them: `whole` of lifted.py puts them in again.
    """

    summary: Summary
    raw: bytes
    ack: bytes | None
    content_hash: bytes
    lifted: tuple[Lifted, ...] = ()


_OWN = [name for name in Summary.__struct_fields__ if name not in ("patients", "orders")]
# What `summary_of` reads.
COLUMNS = ", ".join([name if name != "reused_id" else "reused_id = 1" for name in _OWN] + ["fields", "content_hash"])
_LIST = f"""
select {COLUMNS} from inbox
where tenant_id = %s and id < %s and (%s::text[] is null or state = any(%s)) and (%s::text is null or control_id = %s)
order by id desc limit %s
"""  # noqa: S608
_SHOW = f"select {COLUMNS}, raw, ack, codec from inbox where tenant_id = %s and id = %s"  # noqa: S608
_COUNTS = """
select state, count(*) from inbox
where tenant_id = %s and received >= coalesce(%s::timestamptz, '-infinity') group by state
"""
_NEWEST = 2**63 - 1


async def counts(db: Database, tenant_id: int, since: datetime | None = None) -> dict[str, int]:
    """Return the number of messages by state, of those received at `since` or later."""
    return dict(await db.fetch(tenant_id, _COUNTS, (tenant_id, since)))


async def listed(
    db: Database,
    tenant_id: int,
    *,
    states: Sequence[State] = (),
    control_id: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Summary]:
    """Return at most `limit` messages, the newest first; the next page is `before` the last one's id."""
    wanted = list(states) or None
    params = (tenant_id, _NEWEST if before is None else before, wanted, wanted, control_id, control_id, limit)
    rows = await db.fetch(tenant_id, _LIST, params, custom_plan=True)
    return [await summary_of(db, tenant_id, row) for row in rows]


async def summary_of(db: Database, tenant_id: int, row: Sequence[Any]) -> Summary:
    """Return the message of a row of COLUMNS; without the master key its numbers are not told. Raises Unreadable."""
    *given, stored, content_hash = row
    summary = Summary(*given)
    if stored is None or (message_bytes.is_sealed(stored) and not db.keyring.on):
        return summary
    told = msgspec.json.decode(await message_bytes.opened_fields(db, tenant_id, content_hash, stored), type=Told)
    patients = [f"{name or universal}|{number}".lstrip("|") for name, universal, number in told.patients]
    order = summary.order_text or told.order
    return msgspec.structs.replace(summary, order_text=order, patients=patients, orders=list(told.orders))


async def show(db: Database, tenant_id: int, id_: int) -> Stored | None:
    """Return one message, or None where the tenant has none of this id."""
    rows = await db.fetch(tenant_id, _SHOW, (tenant_id, id_))
    if not rows:
        return None
    *row, raw, ack, codec = rows[0]
    content_hash = row[-1]
    opened = await message_bytes.opened_message(db, tenant_id, content_hash, raw, codec)
    summary = await summary_of(db, tenant_id, row)
    told = await message_bytes.opened_ack(db, tenant_id, content_hash, ack)
    return Stored(summary, opened.raw, told, content_hash, opened.lifted)


async def received_of(db: Database, tenant_id: int, id_: int) -> datetime | None:
    """Return when a message came, or None where the tenant has none of this id."""
    rows = await db.fetch(tenant_id, "select received from inbox where tenant_id = %s and id = %s", (tenant_id, id_))
    return rows[0][0] if rows else None


_LOCK = """
select received, id, order_key, also, ahead from inbox
where tenant_id = %s and id = any(%s::bigint[]) and state = any(%s) order by id for update
"""
_RESET = """
update inbox set state = 'received', attempts = 0, due = null, processed = null
where tenant_id = %s and id = any(%s::bigint[])
"""
_AGAIN = f"""
with again as materialized (
    select received, target, order_hash, received as queued, also::bigint[] as also, ahead
    from unnest(%s::timestamptz[], %s::bigint[], %s::bigint[], %s::text[], %s::int[])
        as u (received, target, order_hash, also, ahead))
{ADD_GUARDED.format(kind=MESSAGE, source="again")}
"""  # noqa: S608


async def replay(db: Database, tenant_id: int, ids: Sequence[int]) -> list[int]:
    """Queue messages that are done or buried to be processed again, after what waits in their order.

    Returns the ids that were queued: a message still to be processed, or one refused by its MSH, is not.
    """
    async with db.transaction(tenant_id) as tx:
        return await requeue(tx, tenant_id, ids)


async def release(db: Database, tenant_id: int, ids: Sequence[int], who: Audited) -> list[int]:
    """Queue messages that were quarantined to be processed, audited; return the ids that were."""
    async with db.transaction(tenant_id) as tx:
        found = await requeue(tx, tenant_id, ids, ("quarantined",))
        if found:
            audit.record(tx, [msgspec.structs.replace(who, detail={"messages": found})])
    return found


_WORKED: tuple[State, ...] = ("done", "buried")


async def requeue(tx: Tx, tenant_id: int, ids: Sequence[int], states: Sequence[State] = _WORKED) -> list[int]:
    """Queue messages of these states again with the transaction, as `replay` does."""
    rows = await tx.fetch(_LOCK, (tenant_id, list(ids), list(states)))
    found = [row[1] for row in rows]
    if found:
        received, _, orders, also, ahead = (list(column) for column in zip(*rows, strict=True))
        others = ["{" + ",".join(map(str, keys)) + "}" if keys else None for keys in also]
        tx.defer(*tickets.lock_orders([key for keys in (orders, *filter(None, also)) for key in keys]))
        tx.defer(_RESET, (tenant_id, found))
        tx.defer(_AGAIN, (received, found, orders, others, ahead, tenant_id, tenant_id))
        tx.defer("select pg_notify(%s, '')", (CHANNEL,))
    return found
