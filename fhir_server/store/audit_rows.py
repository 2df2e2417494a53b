"""Rows of the audit as they are looked at: with who the subject is, and which patient it was about.

In every condition here the audit goes by the name of `resource`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from fhir_server.store.database import Database

_COLUMNS = (
    "id", "at", "action", "subject", "client", "outcome", "request_id", "type", "resource_id", "version", "patient",
    "purpose", "token", "query", "peer", "detail",
)  # fmt: skip


class Told(msgspec.Struct, frozen=True):
    """A row; `patient_id` is the id of the patient's resource, `name` and `reference` are the subject's, if known."""

    id: int
    at: datetime
    action: str
    subject: str | None
    client: str | None
    outcome: int
    request_id: str | None
    type: int | None
    resource_id: str | None
    version: int | None
    patient: int | None
    purpose: str | None
    token: str | None
    query: bytes | None
    peer: str | None
    detail: dict[str, Any] | None
    patient_id: str | None
    name: str | None
    reference: str | None


# The page first, then who and whose: the joins are of its rows alone.
_PAGE = (
    f"select {', '.join(f'a.{name}' for name in _COLUMNS)}, p.id, n.name, m.reference"  # noqa: S608
    " from (select * from audit resource where resource.tenant_id = %s and {where}"
    " order by resource.at {way}, resource.id {way} limit %s) a"
    " left join resource p on p.tenant_id = a.tenant_id and p.self_key = a.patient"
    " left join person n on n.sub = a.subject"
    " left join membership m on m.tenant_id = a.tenant_id and m.person_id = n.id"
    " order by a.at {way}, a.id {way}"
)


async def page(
    db: Database, tenant_id: int, where: str, params: Sequence[Any], count: int, *, oldest_first: bool = False
) -> list[Told]:
    """Return the newest rows, or the oldest, that meet a condition."""
    sql = _PAGE.format(where=where, way="asc" if oldest_first else "desc")
    rows = await db.fetch(tenant_id, sql, (tenant_id, *params, count), custom_plan=True)
    return [Told(*row) for row in rows]


async def count(db: Database, tenant_id: int, where: str, params: Sequence[Any]) -> int:
    """Return how many rows meet a condition."""
    sql = f"select count(*) from audit resource where resource.tenant_id = %s and {where}"  # noqa: S608
    ((number,),) = await db.fetch(tenant_id, sql, (tenant_id, *params), custom_plan=True)
    return int(number)
