"""The outbox: what is to be sent where, written in the transaction of what it tells of.

Nothing is sent that was not committed, and nothing committed is not sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from fhir_server.store import tickets
from fhir_server.store.database import Tx
from fhir_server.store.tickets import DELIVERY

# Rung where there is something to send; not that of messages, of which there are many more.
BELL = "concord_deliveries"
State = Literal["queued", "sending", "done", "held", "failed", "cancelled"]
Sends = Literal["message", "resources", "ack"]


class NewDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be sent; `order_hash` and `lane` are those of its ticket, `content_key` tells it from all others.

    `refs` name the versions of the resources that are sent; `payload` is what stands nowhere else.
    """

    received: datetime
    message_id: int
    channel: str
    destination: str
    sends: Sends
    content_key: bytes
    order_hash: int
    lane: int
    control_id: str | None = None
    message_type: str | None = None
    trigger: str | None = None
    refs: Sequence[str] | None = None
    payload: bytes | None = None


# Column and type, in the order of the parameters; `n` numbers the rows.
_GIVEN = {
    "received": "timestamptz",
    "message_id": "bigint",
    "channel": "text",
    "destination": "text",
    "sends": "text",
    "content_key": "bytea",
    "order_hash": "bigint",
    "lane": "bigint",
    "control_id": "text",
    "message_type": "text",
    "trigger": "text",
    "refs": "text",
    "payload": "bytea",
}
_COPIED = ", ".join(name for name in _GIVEN if name != "refs")
_ADD = f"""
with given as materialized (
    select nextval('delivery_id') as id, g.* from
        (select * from unnest({", ".join(f"%s::{kind}[]" for kind in _GIVEN.values())})
            with ordinality as g ({", ".join(_GIVEN)}, n) order by n) g
), kept as (
    insert into delivery (tenant_id, id, state, created, refs, {_COPIED})
    select %s, id, 'queued', %s, refs::jsonb, {_COPIED} from given order by n
    on conflict do nothing returning id, received, order_hash, lane
)
insert into job_ticket (tenant_id, kind, received, target, order_hash, queued, lane, due)
select %s, {DELIVERY}, k.received, k.id, k.order_hash, %s, k.lane,
       case when row_number() over (partition by k.order_hash order by k.id) = 1 and not exists
           (select 1 from job_ticket t where t.tenant_id = %s and t.order_hash = k.order_hash) then %s::timestamptz end
from kept k order by k.id
"""  # noqa: S608


def add(tx: Tx, deliveries: Sequence[NewDelivery], now: datetime) -> None:
    """Queue deliveries with the transaction, which holds their orders from here to its end: add them last.

    What was queued for the same message with the same content before is not queued again.
    """
    if not deliveries:
        return
    columns: dict[str, list[Any]] = {name: [getattr(one, name) for one in deliveries] for name in _GIVEN}
    columns["refs"] = [refs and msgspec.json.encode(refs).decode() for refs in columns["refs"]]
    columns["payload"] = [_sealed(tx, one) for one in deliveries]
    tx.defer(*tickets.lock_orders(columns["order_hash"]))
    tx.defer(_ADD, (*columns.values(), tx.tenant_id, now, tx.tenant_id, now, tx.tenant_id, now))
    tx.defer("select pg_notify(%s, '')", (BELL,))


def _sealed(tx: Tx, one: NewDelivery) -> bytes | None:
    assert tx.tenant_id is not None
    return one.payload and tx.database.keyring.seal(tx.tenant_id, payload_of(one.content_key), one.payload)


def payload_of(content_key: bytes) -> bytes:
    """Return to what a payload is bound beside its tenant."""
    return b"delivery/payload/" + content_key
