"""Special access of a tenant: broken glass and support sessions, opened, ended, reviewed and never taken away."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from fhir_server.store.database import Database, Tx

Kind = Literal["BTG", "SUPPORT"]


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """An access that is opened; `patient` is a self_key, None in a support session."""

    id: str
    kind: Kind
    person: int
    patient: int | None
    patient_id: str | None
    reason: str
    opened: datetime
    expires: datetime


class Access(msgspec.Struct, frozen=True):
    """An access as it is listed, with whose it was and what a reviewer made of it."""

    id: str
    kind: Kind
    person: int
    email: str
    name: str
    patient_id: str | None
    reason: str
    opened: datetime
    expires: datetime
    ended: datetime | None
    reviewed: datetime | None
    reviewer: str | None
    justified: bool | None
    note: str | None


_ADD = """
insert into special_access (tenant_id, id, kind, person_id, patient, patient_id, reason, opened, expires)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_LIST = """
select s.id, s.kind, s.person_id, p.email, p.name, s.patient_id, s.reason, s.opened, s.expires, s.ended, s.reviewed,
       s.reviewer, s.justified, s.note
from special_access s join person p on p.id = s.person_id
where s.tenant_id = %s and (%s::bigint is null or s.person_id = %s) and (not %s or s.reviewed is null)
  and (%s::timestamptz is null or s.opened >= %s) and (%s::text is null or s.id = %s)
  and (%s::timestamptz is null or s.expires > %s)
order by s.opened desc, s.id limit %s
"""


def add(tx: Tx, one: Opened) -> None:
    """Queue an access."""
    tx.defer(_ADD, (tx.tenant_id, *msgspec.structs.astuple(one)))


async def listed(
    db: Database, tenant_id: int, *, person: int | None = None, unreviewed: bool = False,
    since: datetime | None = None, id_: str | None = None, lasting: datetime | None = None, most: int = 1000,
) -> list[Access]:  # fmt: skip
    """Return accesses, the newest first: of a person, not yet reviewed, since a moment, the one of an id, lasting."""
    values = (tenant_id, person, person, unreviewed, since, since, id_, id_, lasting, lasting, most)
    return [Access(*row) for row in await db.fetch(tenant_id, _LIST, values)]


async def live(db: Database, tenant_id: int, now: datetime) -> list[Access]:
    """Return the accesses that hold now."""
    found = await listed(db, tenant_id, lasting=now)
    return [one for one in found if one.ended is None]


async def end(tx: Tx, id_: str, now: datetime) -> bool:
    """End an access; False where it had ended."""
    sql = (
        "update special_access set ended = %s where tenant_id = %s and id = %s and ended is null and expires > %s"
        " returning 1"
    )
    return bool(await tx.fetch(sql, (now, tx.tenant_id, id_, now)))


async def review(tx: Tx, id_: str, reviewer: str, justified: bool, note: str, now: datetime) -> bool:
    """Keep what a reviewer makes of an access; False where somebody reviewed it before."""
    sql = (
        "update special_access set reviewed = %s, reviewer = %s, justified = %s, note = %s"
        " where tenant_id = %s and id = %s and reviewed is null returning 1"
    )
    return bool(await tx.fetch(sql, (now, reviewer, justified, note, tx.tenant_id, id_)))
