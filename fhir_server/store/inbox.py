"""The inbox: messages as they came, made durable before they are acknowledged, and processed in order exactly once.

HL7 v2.5.1 chapter 2.9.2 (what an acknowledgement promises)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from conformance.issue import Issue
from fhir_server.errors import Busy
from fhir_server.store import lifted, message_bytes, tickets
from fhir_server.store.accepted import DAY, Accepted, Hold, Kept
from fhir_server.store.database import Database, Tx
from fhir_server.store.keyring import Keyring
from fhir_server.store.lifted import Lifted
from fhir_server.store.message_kinds import KIND, OF_KIND, kind_of
from fhir_server.store.messages import State, Stored, Summary, Told, counts, listed, replay, show
from fhir_server.store.tickets import ADD_GUARDED, CHANNEL, MESSAGE, WORK, Ticket
from fhir_server.store.wire import Rows, Statement

__all__ = [
    "DAY", "Accepted", "Claimed", "Hold", "Kept", "State", "Stored", "Summary",
    "accept", "bury", "claim", "close", "counts", "listed", "replay", "retry", "show",
]  # fmt: skip


class Claimed(msgspec.Struct, frozen=True):
    """A message locked for processing; `attempts` counts the tries before this one."""

    ticket: Ticket
    id: int
    received: datetime
    channel: str
    order_key: int
    attempts: int
    raw: bytes
    control_id: str | None
    peer: str | None
    content_hash: bytes
    lifted: tuple[Lifted, ...] = ()

    @property
    def tenant_id(self) -> int:
        """Return whose message it is."""
        return self.ticket.tenant_id


# Column of the inbox and type, in the order of the parameters; `n` numbers the rows.
_GIVEN = {
    "received": "timestamptz",
    "raw": "bytea",
    "channel": "text",
    "order_key": "bigint",
    "state": "text",
    "order_text": "text",
    "sender_app": "text",
    "sender_facility": "text",
    "control_id": "text",
    "message_type": "text",
    "trigger": "text",
    "ack": "bytea",
    "peer": "text",
    "reason": "text",
    "content_hash": "bytea",
    "control_key": "bytea",
    "codec": "smallint",
    "kind": "bigint",
    "fields": "bytea",
    "also": "text",
    "ahead": "int",
    "hold_ack": "bytea",
    "hold": "text",
    "within": "int",
}
# Of one that is held, these are others.
_HELD = {"state": "'quarantined'", "ack": "hold_ack", "reason": "hold"}
_FRESH = ", ".join(f"case when reused and hold is not null then {_HELD[n]} else {n} end as {n}" if n in _HELD else n
                   for n in _GIVEN)  # fmt: skip
_COPIED = [name for name in _GIVEN if name not in ("reason", "control_key", "also", "hold_ack", "hold", "within")]

# Rows of message_seen go in sorted, so that two accepts of the same messages do not wait for each other.
_ACCEPT = f"""
with given as materialized (
    select nextval('inbox_id') as id, g.* from
        (select * from unnest({", ".join(f"%s::{kind}[]" for kind in _GIVEN.values())})
            with ordinality as g ({", ".join(_GIVEN)}, n) order by n) g
), seen as (
    insert into message_seen (tenant_id, control_key, content_hash, received, message_id)
    select %s, control_key, content_hash, received, id from given where state = 'received'
    order by control_key, content_hash, n on conflict do nothing returning message_id
), new as materialized (
    select *, state = 'received' and (content_hash <> first_value(content_hash)
            over (partition by control_key, state order by n) or exists
        (select 1 from message_seen m where m.tenant_id = %s and m.control_key = given.control_key
            and m.content_hash <> given.content_hash
            and m.received >= given.received - given.within * interval '1 second')) as reused
    from given where state <> 'received' or id in (select message_id from seen)
), fresh as materialized (select n, id, reused, {_FRESH} from new), kinds as (
    insert into message_kind (tenant_id, kind, {KIND}) select distinct %s, kind, {KIND} from fresh where not exists
        (select 1 from message_kind k where k.tenant_id = %s and k.kind = fresh.kind) on conflict do nothing
), keys as (
    insert into message_key (tenant_id, key, received, id) select %s, k.key, received, id from fresh
    join unnest(%s::bigint[], %s::bigint[]) k (n, key) on k.n = fresh.n on conflict do nothing
), kept as (
    insert into inbox (tenant_id, id, reason, reused_id, also, {", ".join(_COPIED)})
    select %s, id, reason::jsonb, reused::int, also::bigint[], {", ".join(_COPIED)} from fresh
), queue as (
    select received, id as target, order_key as order_hash, received as queued, ahead, also::bigint[] as also
    from fresh where state = 'received'
), queued as ({ADD_GUARDED.format(kind=MESSAGE, source="queue")})
select n, id, reused, state from fresh
"""  # noqa: S608
_DUPLICATES = """
select g.n, i.id, i.received, i.ack, i.state, i.content_hash from unnest(%s::bytea[], %s::bytea[]) with ordinality
    as g (control_key, content_hash, n)
join message_seen s on s.tenant_id = %s and s.control_key = g.control_key and s.content_hash = g.content_hash
join inbox i on i.tenant_id = %s and i.received = s.received and i.id = s.message_id
"""


async def accept(db: Database, tenant_id: int, messages: Sequence[Accepted]) -> list[Kept]:
    """Make messages durable in one commit, with their tickets, and return what became of each, in order.

    The same message again (MSH-3, MSH-4, MSH-10 and content) is not kept a second time. Raises errors.Busy; nothing of
    the group is kept then.
    """
    if not messages:
        return []
    hashes = [m.content_hash or hashlib.sha256(m.raw).digest() for m in messages]
    controls = [_control_key(m) for m in messages]
    await db.keyring.ready(db, tenant_id)
    codecs = [message_bytes.codec(db.keyring, m.lifted) for m in messages]
    kinds = [kind_of(*(getattr(m, name) for name in OF_KIND)) for m in messages]
    fields = [_fields(db.keyring, tenant_id, h, m) for m, h in zip(messages, hashes, strict=True)]
    also = ["{" + ",".join(map(str, m.also)) + "}" if m.also else None for m in messages]
    values = (*_columns(messages, db.keyring, tenant_id, hashes), hashes, controls, codecs, kinds, fields, also)
    values = (*values, [m.ahead for m in messages], *_holds(messages, db.keyring, tenant_id, hashes))
    pairs = [(n, key) for n, message in enumerate(messages, 1) for key in message.keys]
    found_by = ([n for n, _ in pairs], [key for _, key in pairs])
    statements: list[Statement] = [
        ("select pg_notify(%s, '')", (CHANNEL,)),
        tickets.lock_orders([key for m in messages if m.state == "received" for key in (m.order_key, *m.also)]),
        (_ACCEPT, (*values, *(tenant_id,) * 5, *found_by, *(tenant_id,) * 3)),
    ]
    if any(m.lifted for m in messages):
        rows = await _holding(db, tenant_id, messages, statements)
    else:
        *_, rows = await db.run(tenant_id, *statements)
    kept: dict[int, Kept] = {}
    for n, id_, reused, state in rows:
        message = messages[n - 1]
        answer = message.hold.ack if message.hold and state == "quarantined" else message.ack
        kept[n - 1] = Kept(id_, message.received, answer, state, reused_id=reused)
    if len(kept) < len(messages):
        again = [n for n in range(len(messages)) if n not in kept]
        params = ([controls[n] for n in again], [hashes[n] for n in again], tenant_id, tenant_id)
        for n, id_, received, stored, state, content_hash in await db.fetch(tenant_id, _DUPLICATES, params):
            ack = await message_bytes.opened_ack(db, tenant_id, content_hash, stored)
            kept[again[n - 1]] = Kept(id_, received, ack, state, duplicate=True)
    return [kept[n] for n in range(len(messages))]


async def _holding(db: Database, tenant_id: int, messages: Sequence[Accepted], statements: Sequence[Statement]) -> Rows:
    """Accept messages, some of which have documents, which they hold from the same commit on."""
    async with db.transaction(tenant_id) as tx:
        touched = max(m.received for m in messages)
        if not await lifted.touch(tx, [key for m in messages for key in lifted.keys_of(m.lifted)], touched):
            raise Busy("a document of the message has been swept: its sender sends it again")
        *before, accept_ = statements
        for sql, params in before:
            tx.defer(sql, params)
        rows = await tx.fetch(*accept_)
        for n, id_, *_ in rows:
            for key in lifted.keys_of(messages[n - 1].lifted):
                tx.defer(lifted.HOLD, (tenant_id, key, messages[n - 1].received, id_))
    return rows


class Closed(msgspec.Struct, frozen=True):
    """How a message ended: done, or buried without anything to be taken back.

    `result` is JSON that tells what was written, `reason` what is worth knowing, `ack` the answer if it came late,
    `keys` the hashes by which the reason is found.
    """

    message: Claimed
    state: Literal["done", "buried"]
    result: Any = None
    reason: Sequence[Issue] = ()
    ack: bytes | None = None
    keys: Sequence[int] = ()


_LOAD = """
select 1, channel, order_key, attempts, raw, control_id, peer, content_hash, codec from inbox
where tenant_id = %s and received = %s and id = %s
"""
# Each row by its key: the lateral side is looked up per ticket, whatever the planner believes of the partitions' size.
_LOAD_SEVERAL = """
select n, channel, order_key, attempts, raw, control_id, peer, content_hash, codec from
    (select n, i.*, coalesce(sum(octet_length(i.raw)) over (order by n), 0) as together
     from unnest(%s::timestamptz[], %s::bigint[]) with ordinality as t (received, id, n)
     left join lateral (select channel, order_key, attempts, raw, control_id, peer, content_hash, codec from inbox
        where tenant_id = %s and received = t.received and id = t.id limit 1) i on true) loaded
where n = 1 or together <= %s order by n
"""


async def claim(
    tx: Tx, now: datetime, most: int = 1, size: int = 1 << 22, held: Callable[[float], None] | None = None
) -> list[Claimed]:
    """Lock up to `most` messages that may be processed: of one tenant, first in first out, each of its own order key.

    `tx` is a transaction without tenant; it gets the messages'. It belongs to these messages until it ends. Those
    beyond `size` bytes together are left to others then, but for the first. `held` as in `tickets.claim_several`.
    """
    while claimed := await tickets.claim_several(tx, MESSAGE, now, most, held):
        if messages := await _loaded(tx, claimed, size):
            return messages
    return []


async def _loaded(tx: Tx, claimed: Sequence[Ticket], size: int) -> list[Claimed]:
    """Return the messages of tickets, the first and as many more as `size` allows; clear tickets without one."""
    moments, targets, tenant_id = [t.received for t in claimed], [t.target for t in claimed], claimed[0].tenant_id
    if len(claimed) == 1:
        rows = await tx.fetch(_LOAD, (tenant_id, moments[0], targets[0])) or [(1, None)]
    else:
        rows = await tx.fetch(_LOAD_SEVERAL, (moments, targets, tenant_id, size))
    found = []
    for number, *row in rows:
        ticket = claimed[number - 1]
        if row[0] is None or ticket.received is None:
            tickets.clear(tx, ticket)
        else:
            channel, order_key, attempts, stored, control_id, peer, content_hash, codec = row
            opened = await message_bytes.opened_message(tx.database, tenant_id, content_hash, stored, codec)
            given = (channel, order_key, attempts, opened.raw, control_id, peer, content_hash, opened.lifted)
            found.append(Claimed(ticket, ticket.target, ticket.received, *given))
    return found


_SETTLE = """
update inbox set state = %s, attempts = attempts + 1, processed = %s, due = %s, reason = %s::jsonb, result = %s::jsonb,
    ack = coalesce(%s, ack)
where tenant_id = %s and received = %s and id = %s
"""


def close(tx: Tx, closed: Sequence[Closed], now: datetime) -> None:
    """Queue the end of messages that are worked in one transaction; nothing is taken back."""
    tickets.remove(tx, *(one.message.ticket for one in closed))
    for one in closed:
        _settle(tx, one.message, one.state, now, None, one.reason, one.result, one.ack)
        _find(tx, one.message, one.keys)


def retry(tx: Tx, message: Claimed, due: datetime, reason: Sequence[Issue]) -> None:
    """Take back what processing did and queue another try at `due`; later messages of its order wait for it."""
    tx.rollback_to(WORK)
    tickets.postpone(tx, message.ticket, due)
    _settle(tx, message, "received", None, due, reason, None, None)


def bury(
    tx: Tx,
    message: Claimed,
    now: datetime,
    reason: Sequence[Issue],
    ack: bytes | None = None,
    keys: Sequence[int] = (),
) -> None:
    """Take back what processing did and queue that the message is given up, with the reason; its order goes on."""
    tx.rollback_to(WORK)
    tickets.remove(tx, message.ticket)
    _settle(tx, message, "buried", now, None, reason, None, ack)
    _find(tx, message, keys)


_FIND = """
insert into message_key (tenant_id, key, received, id) select %s, key, %s, %s from unnest(%s::bigint[]) key
on conflict do nothing
"""


def _find(tx: Tx, message: Claimed, keys: Sequence[int]) -> None:
    """Queue that a message is found by these keys from now on."""
    if keys:
        tx.defer(_FIND, (message.tenant_id, message.received, message.id, list(keys)))


def _settle(
    tx: Tx,
    message: Claimed,
    state: State,
    processed: datetime | None,
    due: datetime | None,
    reason: Sequence[Issue],
    result: Any,
    ack: bytes | None,
) -> None:
    ack = message_bytes.ack(tx.database.keyring, message.tenant_id, message.content_hash, ack)
    values = (state, processed, due, _json(list(reason) or None), _json(result), ack)
    tx.defer(_SETTLE, (*values, message.tenant_id, message.received, message.id))


def _columns(
    messages: Sequence[Accepted], keyring: Keyring, tenant_id: int, hashes: Sequence[bytes]
) -> list[list[Any]]:
    later = ("reason", *list(_GIVEN)[list(_GIVEN).index("content_hash") :])
    columns = {name: [getattr(m, name) for m in messages] for name in _GIVEN if name not in later}
    if keyring.on:
        # It names a patient: it stands among the fields, encrypted.
        columns["order_text"] = [None] * len(messages)
    places = list(zip(messages, hashes, strict=True))
    columns["raw"] = [message_bytes.raw(keyring, tenant_id, h, m.raw, m.lifted) for m, h in places]
    columns["ack"] = [message_bytes.ack(keyring, tenant_id, h, m.ack) for m, h in places]
    return [*columns.values(), [_json(list(m.reason) or None) for m in messages]]


def _holds(messages: Sequence[Accepted], keyring: Keyring, tenant_id: int, hashes: Sequence[bytes]) -> list[list[Any]]:
    acks = [m.hold.ack if m.hold else None for m in messages]
    sealed = [message_bytes.ack(keyring, tenant_id, h, a) for h, a in zip(hashes, acks, strict=True)]
    return [sealed, [_json(list(m.hold.reason)) if m.hold else None for m in messages], [m.within for m in messages]]


def _fields(keyring: Keyring, tenant_id: int, content_hash: bytes, message: Accepted) -> bytes | None:
    told = Told(message.fields.patients, message.fields.orders, message.order_text)
    return message_bytes.fields(keyring, tenant_id, content_hash, msgspec.json.encode(told))


def _control_key(message: Accepted) -> bytes:
    names = (message.sender_app, message.sender_facility, message.control_id)
    return hashlib.sha256("\0".join(name or "" for name in names).encode()).digest()[:16]


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
