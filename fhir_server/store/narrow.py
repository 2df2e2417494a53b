"""The narrow tables of the search index: what needs ranges and prefixes, or stands together in one element."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from fhir_server.store.database import Tx


class Narrow(NamedTuple):
    """One table: the attribute of Entries that fills it, and its two statements, for any number of resources."""

    kind: str
    width: int
    add: str
    change: str


def _as_text(kind: str) -> bool:
    """Tell whether values are sent as text: those that are arrays themselves, and those that have no array here."""
    return kind.endswith("[]") or kind == "tsvector"


def _narrow(kind: str, table: str, columns: dict[str, str]) -> Narrow:
    """Return the statements."""
    names = ", ".join(columns)
    sent = ", ".join(f"%s::{'text' if _as_text(kind) else kind}[]" for kind in columns.values())
    values = ", ".join(f"n.{name}::{kind}" if _as_text(kind) else f"n.{name}" for name, kind in columns.items())
    rows = f"select n.rid, {values} from unnest(%s::bigint[], {sent}) as n (rid, {names})"  # noqa: S608
    insert = f"insert into {table} (tenant_id, rid, {names})"
    # Said so that only the index on rid can serve: many resources share a value, and one by value would visit them all.
    same = " and ".join(["t.rid = x.rid", *(f"t.{name} is not distinct from x.{name}" for name in columns)])
    # Only what differs is taken away and added: most updates leave most entries as they are.
    change = (
        f"with new (rid, {names}) as materialized ({rows}), old as materialized"  # noqa: S608
        f" (select rid, {names} from {table} where tenant_id = %s and rid = any(%s::bigint[])), gone as"
        f" (delete from {table} t using (select * from old except select * from new) x"
        f" where t.tenant_id = %s and {same})"
        f" {insert} select %s, x.* from (select * from new except select * from old) x"
    )
    return Narrow(kind, len(columns), f"{insert} select %s, n.* from ({rows}) n", change)  # noqa: S608


NARROW = (
    _narrow("dates", "idx_date", {"param": "int", "lo": "timestamptz", "hi": "timestamptz"}),
    _narrow("strings", "idx_string", {"param": "int", "value": "text"}),
    _narrow("numbers", "idx_number", {"param": "int", "lo": "float8", "hi": "float8"}),
    _narrow(
        "composites",
        "idx_composite",
        {"key": "bigint", "lo": "float8", "hi": "float8", "lo2": "float8", "hi2": "float8", "value": "text",
         "keys": "bigint[]"},
    ),
    _narrow("words", "idx_text", {"words": "tsvector"}),
)  # fmt: skip

Found = tuple[int, Any]


def digest(entries: Any) -> int:
    """Return a hash of the entries of all kinds, whatever their order; 0 where there are none."""
    found = [sorted(getattr(entries, table.kind)) for table in NARROW]
    if not any(found):
        return 0
    data = msgspec.msgpack.encode(found)
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big", signed=True)


def add(tx: Tx, found: Sequence[Found]) -> None:
    """Queue the entries of new resources; `found` has (rid, Entries)."""
    for table in NARROW:
        values = _columns(table, found)
        if values[0]:
            tx.defer(table.add, (tx.tenant_id, *values))


def change(tx: Tx, rids: Sequence[int], found: Sequence[Found]) -> None:
    """Queue what makes the entries of the resources `rids` those of `found`."""
    for table in NARROW:
        tx.defer(table.change, (*_columns(table, found), tx.tenant_id, rids, tx.tenant_id, tx.tenant_id))


def _columns(table: Narrow, found: Sequence[Found]) -> list[list[Any]]:
    """Return the entries by column: rid first, then as they stand in Entries."""
    rows = [(rid, *entry) for rid, entries in found for entry in getattr(entries, table.kind)]
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(table.width + 1)]
