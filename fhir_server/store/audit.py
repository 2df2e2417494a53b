"""Who did what, when, to which resource: rows that are added and never changed, in the transaction they tell of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from fhir_server.store.database import Tx


class Audited(msgspec.Struct, frozen=True, kw_only=True):
    """One thing done or refused; `outcome` is the HTTP status, `type` the resource type's code."""

    at: datetime
    action: str
    subject: str
    client: str
    outcome: int
    request_id: str | None = None
    type: int | None = None
    resource_id: str | None = None
    version: int | None = None
    detail: dict[str, Any] | None = None


_COLUMNS = {
    "at": "timestamptz",
    "action": "text",
    "subject": "text",
    "client": "text",
    "outcome": "smallint",
    "request_id": "text",
    "type": "smallint",
    "resource_id": "text",
    "version": "int",
    "detail": "text",
}
_INSERT = "insert into audit (tenant_id, {}) select %s, {} from unnest({}) as n ({})".format(  # noqa: S608
    ", ".join(_COLUMNS),
    ", ".join("detail::jsonb" if name == "detail" else name for name in _COLUMNS),
    ", ".join(f"%s::{kind}[]" for kind in _COLUMNS.values()),
    ", ".join(_COLUMNS),
)


def record(tx: Tx, rows: Sequence[Audited]) -> None:
    """Queue the rows, in one statement; the transaction does not commit without them."""
    if rows:
        columns = [[getattr(row, name) for row in rows] for name in _COLUMNS if name != "detail"]
        details = [msgspec.json.encode(row.detail).decode() if row.detail is not None else None for row in rows]
        tx.defer(_INSERT, (tx.tenant_id, *columns, details))
