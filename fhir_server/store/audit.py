"""Who did what, when, to which resource: rows that are added and never changed.

Those of writes are queued in the transaction they tell of; those of reads go together, in `recorder.py`.
"""

from __future__ import annotations

import operator
import secrets
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from fhir_server.store.database import Tx
from fhir_server.store.wire import Statement


class Audited(msgspec.Struct, frozen=True, kw_only=True):
    """One thing done or refused; `outcome` is the HTTP status, `type` the resource type's code.

    `patient` is the self_key of the patient whose data it was about, `token` the jti of the access token;
    `query` the request of a search as it came, `peer` the address it came from.
    """

    at: datetime
    action: str
    subject: str | None
    client: str | None
    outcome: int
    request_id: str | None = None
    type: int | None = None
    resource_id: str | None = None
    version: int | None = None
    patient: int | None = None
    purpose: str | None = None
    token: str | None = None
    query: bytes | None = None
    peer: str | None = None
    detail: dict[str, Any] | None = None


# Columns in the order of the struct's fields.
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
    "patient": "bigint",
    "purpose": "text",
    "token": "text",
    "query": "bytea",
    "peer": "text",
    "detail": "jsonb",
}
_NAMES = ", ".join(_COLUMNS)
# Each row sets the tenant that it belongs to before its own check, so that rows of several go in one statement.
_ONE = (
    f"insert into audit (tenant_id, {_NAMES})"  # noqa: S608
    f" values (set_config('app.tenant', %s, true)::int, {', '.join(['%s'] * len(_COLUMNS))})"
)
_MANY = (
    f"insert into audit (tenant_id, {_NAMES}) select set_config('app.tenant', n.tenant, true)::int, {_NAMES}"  # noqa: S608
    " from unnest(%s::text[], {}) as n (tenant, {})"
).format(", ".join(f"%s::{kind}[]" for kind in _COLUMNS.values()), _NAMES)
# What the row of a read takes from the resource that is shown, and what it has no need of; the request tells the rest.
_SEEN = {
    "type": "type", "resource_id": "id", "version": "version", "patient": "patient",
    "query": "null::bytea", "detail": "null::jsonb",
}  # fmt: skip
_ASKED = {name: kind for name, kind in _COLUMNS.items() if name not in _SEEN}
_KEPT = operator.itemgetter(*(number for number, name in enumerate(_COLUMNS, 1) if name in _ASKED))
# A text that PostgreSQL cannot hold, or an index of it: what a client sent is kept as far as it can be.
_LONGEST = 1000


# What was before and after a change of an administrator's. The chain holds its digest alone, so that it can be erased.
_STATE = "insert into audit_state (tenant_id, digest, body) values (%s, %s, %s)"


# One statement, so that what is shown and what is told of it are the same version.
_SHOWING = (
    "with shown as ({rows}), told as (insert into audit"  # noqa: S608
    f" (tenant_id, {_NAMES}) select current_setting('app.tenant')::int,"
    " {values} from shown where body is not null) select {columns} from shown"
)

# A state's place in what the tenant's key encrypts.
STATE = b"audit-state"


async def changed(tx: Tx, row: Audited, before: Any, after: Any) -> None:
    """Queue the row of an administrative change, with what was before and after it, None for nothing; as JSON."""
    assert tx.tenant_id is not None
    keyring = tx.database.keyring
    await keyring.ready(tx.database, tx.tenant_id)
    # Salted: a digest alone must not tell a state that can be guessed.
    body = msgspec.json.encode({"salt": secrets.token_hex(16), "before": before, "after": after}, order="deterministic")
    digest = sha256(body).digest()
    tx.defer(_STATE, (tx.tenant_id, digest, keyring.seal(tx.tenant_id, STATE, body)))
    record(tx, [msgspec.structs.replace(row, detail={**(row.detail or {}), "state": digest.hex()})])


def record(tx: Tx, rows: Sequence[Audited]) -> None:
    """Queue the rows, in one statement; the transaction does not commit without them."""
    if rows:
        tenant = str(tx.tenant_id)
        tx.defer(*statement([(tenant, *msgspec.structs.astuple(row)) for row in rows]))


def statement(rows: Sequence[tuple[Any, ...]]) -> Statement:
    """Return the statement that adds rows: each its tenant's id as text, then the fields of Audited."""
    if len(rows) == 1:
        *values, detail = rows[0]
        return _ONE, [*map(_storable, values), _json(detail)]
    *columns, details = zip(*rows, strict=True)
    return _MANY, [*(list(map(_storable, column)) for column in columns), list(map(_json, details))]


def showing(columns: str, rows: str) -> str:
    """Return the statement that gives `columns` of `rows`, a query, and adds the row of each that is not deleted.

    It takes the parameters of `rows`, then those of `asked`. The tenant is to be set before.
    """
    values = ", ".join(_SEEN.get(name) or f"%s::{_ASKED[name]}" for name in _COLUMNS)
    return _SHOWING.format(columns=columns, rows=rows, values=values)


def showing_many(columns: str, row: str) -> str:
    """Return the statement that does so for many: `row` is the query of one of the `wanted`, by their type and id.

    It takes arrays of types, of ids, and of each of `asked`, then the parameters of `row`; it gives which of the wanted
    it is, from 1, as the last column.
    """
    names = ", ".join(f"asked_{name}" for name in _ASKED)
    arrays = ", ".join(f"%s::{kind}[]" for kind in ("smallint", "text", *_ASKED.values()))
    wanted = f"unnest({arrays}) with ordinality as wanted (type, id, {names}, number)"
    rows = f"select shown.*, {names}, number from {wanted} cross join lateral ({row} limit 1) shown"  # noqa: S608
    values = ", ".join(_SEEN.get(name, f"asked_{name}") for name in _COLUMNS)
    return _SHOWING.format(columns=f"{columns}, number", rows=rows, values=values)


def asked(row: Sequence[Any]) -> tuple[Any, ...]:
    """Return what the row of a read has to tell beside the resource: its tenant's id as text first, as `statement`."""
    return tuple(map(_storable, _KEPT(row)))


def _storable(value: Any) -> Any:
    if type(value) is str and ("\0" in value or len(value) > _LONGEST):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")[:_LONGEST]
    return value


def _json(detail: dict[str, Any] | None) -> str | None:
    return None if detail is None else msgspec.json.encode(detail).decode().replace("\\u0000", "\\ufffd")
