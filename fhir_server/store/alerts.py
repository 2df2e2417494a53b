"""Alerts of a tenant: one row for each channel and kind while it stands, told to people, acknowledged, resolved.

Nothing of a patient stands in an alert: kinds, counts, numbers of messages and of accesses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from fhir_server.context import Tenant
from fhir_server.store.database import Database, Tx
from fhir_server.store.figures import EVER


class Alert(msgspec.Struct, frozen=True):
    """An alert; `channel` is "" where it is of the clinic, `count` how often it happened, `resolved` its end."""

    id: int
    channel: str
    kind: str
    count: int
    detail: dict[str, Any]
    first: datetime
    last: datetime
    acknowledged: datetime | None
    acknowledged_by: str | None
    note: str | None
    resolved: datetime | None
    told: datetime | None
    told_count: int


_COLUMNS = ", ".join(Alert.__struct_fields__)
_STANDING = f"select {_COLUMNS} from alert where tenant_id = %s and resolved is null order by id"  # noqa: S608
_LIST = f"""
select {_COLUMNS} from alert where tenant_id = %s and (not %s or resolved is null) and id < %s order by id desc limit %s
"""  # noqa: S608
# Ended ones that nobody was told of yet, beside those that stand.
_TO_TELL = f"""
select {_COLUMNS} from alert where tenant_id = %s and (resolved is null or told < resolved) order by id
"""  # noqa: S608
_RAISE = f"""
insert into alert (tenant_id, channel, kind, count, detail, first, last) values (%s, %s, %s, %s, %s, %s, %s)
on conflict (tenant_id, channel, kind) where resolved is null do update
set count = case when %s then alert.count else 0 end + excluded.count, last = excluded.last, detail = excluded.detail
returning {_COLUMNS}
"""  # noqa: S608
_KNOWN = "insert into watched_tenant (tenant_id, looked) values (%s, %s) on conflict do nothing"
_LOOK = """
update watched_tenant set looked = %s
where tenant_id = (select tenant_id from watched_tenant where tenant_id = %s for update skip locked)
"""
_NEWEST = 2**63 - 1


async def standing(db: Database, tenant_id: int) -> list[Alert]:
    """Return the alerts that stand, the oldest first."""
    return [Alert(*row) for row in await db.fetch(tenant_id, _STANDING, (tenant_id,))]


async def listed(
    db: Database, tenant_id: int, *, standing: bool = False, before: int | None = None, limit: int = 50
) -> list[Alert]:
    """Return alerts, the newest first; the next page is `before` the last one's id."""
    params = (tenant_id, standing, _NEWEST if before is None else before, limit)
    return [Alert(*row) for row in await db.fetch(tenant_id, _LIST, params)]


async def to_tell(tx: Tx) -> list[Alert]:
    """Return the alerts that stand, and those that ended since somebody was last told."""
    return [Alert(*row) for row in await tx.fetch(_TO_TELL, (tx.tenant_id,))]


async def note(
    tx: Tx, channel: str, kind: str, count: int, detail: Mapping[str, Any], now: datetime, *, more: bool
) -> Alert:
    """Keep that an alert stands; `more` adds the count to that of the one there is, otherwise it takes its place."""
    values = (tx.tenant_id, channel, kind, count, dict(detail), now, now, more)
    return Alert(*(await tx.fetch(_RAISE, values))[0])


def happened(tx: Tx, channel: str, kind: str, detail: Mapping[str, Any], now: datetime) -> None:
    """Queue an alert of something that happened once, and have the tenant looked at soon."""
    # Who opens a record in an emergency waits for nobody who looks just now; the next look finds it.
    tx.defer(_KNOWN, (tx.tenant_id, EVER))
    tx.defer(_LOOK, (EVER, tx.tenant_id))
    tx.defer(_RAISE, (tx.tenant_id, channel, kind, 1, dict(detail), now, now, True))


def resolve(tx: Tx, id_: int, now: datetime) -> None:
    """Queue the end of an alert."""
    tx.defer("update alert set resolved = %s where tenant_id = %s and id = %s", (now, tx.tenant_id, id_))


def told(tx: Tx, alert: Alert, now: datetime) -> None:
    """Queue that people are told of an alert as it is."""
    sql = "update alert set told = %s, told_count = %s where tenant_id = %s and id = %s"
    tx.defer(sql, (now, alert.count, tx.tenant_id, alert.id))


async def acknowledge(tx: Tx, id_: int, who: str, note: str | None, now: datetime, ends: Sequence[str] = ()) -> bool:
    """Keep that somebody takes care of an alert, which ends one of the kinds `ends`.

    False where none of this id stands, or somebody did before.
    """
    sql = (
        "update alert set acknowledged = %s, acknowledged_by = %s, note = %s,"
        " resolved = case when kind = any(%s) then %s::timestamptz end, told = case when kind = any(%s) then"
        " greatest(told, %s::timestamptz) else told end"
        " where tenant_id = %s and id = %s and resolved is null and acknowledged is null returning 1"
    )
    kinds = list(ends)
    return bool(await tx.fetch(sql, (now, who, note, kinds, now, kinds, now, tx.tenant_id, id_)))


_JOIN = """
insert into watched_tenant (tenant_id, looked) select id, %s from tenant where channel_generation > 0
on conflict do nothing
"""
_TAKE = """
select w.tenant_id, t.name from watched_tenant w join tenant t on t.id = w.tenant_id where w.looked <= %s
order by w.looked limit 1 for update of w skip locked
"""


async def join(db: Database) -> None:
    """Have every tenant looked at that has channels."""
    await db.fetch(None, _JOIN, (EVER,))


async def take(tx: Tx, before: datetime, now: datetime) -> Tenant | None:
    """Lock a tenant that nobody has looked at since `before`, nor looks at now, and note that we do; None for none.

    `tx` is a transaction without tenant; it gets this one's, and the tenant stays locked until it ends.
    """
    rows = await tx.fetch(_TAKE, (before,))
    if not rows:
        return None
    found = Tenant(*rows[0])
    tx.defer("update watched_tenant set looked = %s where tenant_id = %s", (now, found.id))
    tx.set_tenant(found.id)
    return found
