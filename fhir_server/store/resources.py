"""Resource rows: read, found by their keys, locked, and written, many in a handful of statements."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from fhir_server.store import narrow
from fhir_server.store.database import Tx
from fhir_server.store.loader import Loader, shown
from fhir_server.store.opening import place
from fhir_server.store.rids import Rids
from fhir_server.store.rows import COLUMNS, Current, read

__all__ = [
    "Current", "Entries", "Loader", "Rids", "Write", "current", "find_by_keys", "lock_keys", "read", "shown",
    "write",
]  # fmt: skip


class Entries(Protocol):
    """What a resource is found by; `search.kinds.Entries` is one."""

    @property
    def keys(self) -> Sequence[int]:
        """Tokens, references and URIs as hashes."""

    @property
    def dates(self) -> Sequence[tuple[int, datetime, datetime]]:
        """Parameter, first and last moment."""

    @property
    def strings(self) -> Sequence[tuple[int, str]]:
        """Parameter, folded text."""

    @property
    def numbers(self) -> Sequence[tuple[int, float, float]]:
        """Parameter, lowest and highest value."""

    @property
    def composites(self) -> Sequence[tuple[Any, ...]]:
        """Elements that repeat: key, bounds of two numbers, folded text, keys."""

    @property
    def words(self) -> Sequence[tuple[str]]:
        """The full text, in one row or none."""

    @property
    def patient(self) -> int | None:
        """self_key of the Patient whose compartment it is in."""

    @property
    def class_(self) -> int | None:
        """Its class of confidentiality."""


class Write(msgspec.Struct):
    """A version to be written; `previous` is the row as `current` locked it, None for a create.

    `body` and `entries` are None for a delete.
    """

    rid: int
    type: int
    id: str
    version: int
    updated: datetime
    body: bytes | None
    entries: Entries | None
    self_key: int
    previous: Current | None = None


_CURRENT = f"select {COLUMNS} from resource where tenant_id = %s and self_key = any(%s::bigint[]) order by self_key"  # noqa: S608
_BY_KEYS = (
    f"select {COLUMNS} from resource where tenant_id = %s and keys && %s::bigint[] and body is not null"  # noqa: S608
    " order by self_key"
)


async def current(tx: Tx, self_keys: Sequence[int], lock: bool = True) -> dict[int, Current]:
    """Return the rows by self_key, locked in that order until the transaction ends."""
    sql = _CURRENT + " for update" if lock else _CURRENT
    rows = await tx.fetch(sql, (tx.tenant_id, list(self_keys)))
    return {row[5]: Current(*row) for row in rows}


async def find_by_keys(tx: Tx, keys: Sequence[int], lock: bool = True) -> list[Current]:
    """Return the live rows that hold any of the keys, in the order of their self_keys, locked."""
    sql = _BY_KEYS + " for update" if lock else _BY_KEYS
    return [Current(*row) for row in await tx.fetch(sql, (tx.tenant_id, list(keys)))]


def lock_keys(tx: Tx, keys: Sequence[int]) -> None:
    """Queue locks on keys, rows or no rows, until the transaction ends; one order for all, so that none deadlock."""
    if keys:
        tx.defer("select pg_advisory_xact_lock(key) from unnest(%s::bigint[]) key", (sorted(set(keys)),))


_INSERT = """
insert into resource
    (tenant_id, codec, rid, type, id, version, updated, self_key, keys, body, narrow_hash, patient, class)
select %s, %s::smallint, rid, type, id, version, updated, self_key, keys::bigint[], body, narrow_hash, patient, class
from unnest(%s::bigint[], %s::smallint[], %s::text[], %s::int[], %s::timestamptz[], %s::bigint[], %s::text[],
            %s::bytea[], %s::bigint[], %s::bigint[], %s::smallint[])
     as n (rid, type, id, version, updated, self_key, keys, body, narrow_hash, patient, class)
"""
# A version that is no longer there leaves type null, which the table refuses: the writer had not locked the row.
_KEEP = """
insert into resource_history (tenant_id, rid, version, type, updated, body, codec)
select %s, n.rid, n.version, r.type, r.updated, r.body, r.codec
from unnest(%s::bigint[], %s::int[]) as n (rid, version)
     left join resource r on r.tenant_id = %s and r.rid = n.rid and r.version = n.version
"""
# A deleted resource stays in its compartment, so that who could see it learns that it is gone; what was released is
# not, should it come back.
_UPDATE = """
update resource r
set version = n.version, updated = n.updated, keys = n.keys::bigint[], body = n.body, codec = %s::smallint,
    narrow_hash = n.narrow_hash,
    patient = case when n.body is null then r.patient else n.patient end,
    class = case when n.body is null then r.class else n.class end,
    released_at = case when n.body is null then null else r.released_at end
from unnest(%s::bigint[], %s::int[], %s::timestamptz[], %s::text[], %s::bytea[], %s::bigint[], %s::bigint[],
            %s::smallint[])
     as n (rid, version, updated, keys, body, narrow_hash, patient, class)
where r.tenant_id = %s and r.rid = n.rid
"""


# What is written has one good plan whatever the values; left to itself, PostgreSQL expects less rows from these very
# arrays than from any, and plans each statement anew: 0.7 ms of the 1.2 ms that an update cost.
_ONE_PLAN = "select set_config('plan_cache_mode', 'force_generic_plan', true), hold_search_generation(%s, %s)"


def write(tx: Tx, writes: Sequence[Write], generation: int = 0) -> None:
    """Queue the rows, their index entries and the versions they replace; a dozen statements at most for any number.

    `generation` is that of the tenant's search parameters by which the entries were made. The end of the block raises
    database.Collision where another writer was quicker, database.Stale where the parameters have changed.
    """
    tx.defer(_ONE_PLAN, (tx.tenant_id, generation))
    created = [_Row(w, w.entries) for w in writes if w.previous is None]
    changed = [_Row(w, w.entries) for w in writes if w.previous is not None]
    if created:
        tx.defer(_INSERT, _inserted(tx, created))
        narrow.add(tx, [(row.write.rid, row.entries) for row in created if row.narrow_hash])
    if changed:
        _change(tx, changed)


class _Row:
    """A write with the digest of its narrow entries."""

    __slots__ = ("entries", "narrow_hash", "write")

    def __init__(self, write: Write, entries: Entries | None) -> None:
        self.write = write
        self.entries = entries
        self.narrow_hash = narrow.digest(entries) if entries else 0


def _change(tx: Tx, rows: Sequence[_Row]) -> None:
    rids = [row.write.rid for row in rows]
    tx.defer(_KEEP, (tx.tenant_id, rids, [row.write.version - 1 for row in rows], tx.tenant_id))
    tx.defer(_UPDATE, _updated(tx, rows))
    differ = [row for row in rows if row.write.previous and row.narrow_hash != row.write.previous.narrow_hash]
    if differ:
        found = [(row.write.rid, row.entries) for row in differ if row.entries]
        narrow.change(tx, [row.write.rid for row in differ], found)


def _inserted(tx: Tx, rows: Sequence[_Row]) -> tuple[Any, ...]:
    writes = [row.write for row in rows]
    return (
        tx.tenant_id,
        tx.database.keyring.codec,
        [w.rid for w in writes],
        [w.type for w in writes],
        [w.id for w in writes],
        [w.version for w in writes],
        [w.updated for w in writes],
        [w.self_key for w in writes],
        *_contents(tx, rows),
    )


def _updated(tx: Tx, rows: Sequence[_Row]) -> tuple[Any, ...]:
    writes = [row.write for row in rows]
    versions = [w.version for w in writes]
    moments = [w.updated for w in writes]
    codec = tx.database.keyring.codec
    return (codec, [w.rid for w in writes], versions, moments, *_contents(tx, rows), tx.tenant_id)


def _contents(tx: Tx, rows: Sequence[_Row]) -> tuple[list[Any], ...]:
    entries = [row.entries for row in rows]
    return (
        ["{" + ",".join(map(str, e.keys)) + "}" if e else "{}" for e in entries],
        _bodies(tx, [row.write for row in rows]),
        [row.narrow_hash for row in rows],
        [e.patient if e else None for e in entries],
        [e.class_ if e else None for e in entries],
    )


async def types(tx: Tx) -> list[int]:
    """Return the types of which the tenant has resources."""
    sql = "select distinct type from resource where tenant_id = %s and body is not null"
    return [row[0] for row in await tx.fetch(sql, (tx.tenant_id,))]


def _bodies(tx: Tx, writes: Sequence[Write]) -> list[bytes | None]:
    """Return the bodies as they are stored: each encrypted for its own place, where there is a master key."""
    keyring, tenant = tx.database.keyring, tx.tenant_id
    if not keyring.on:
        return [w.body for w in writes]
    assert tenant is not None
    return [w.body and keyring.sealed(tenant, place(w.type, w.id), w.body) for w in writes]
