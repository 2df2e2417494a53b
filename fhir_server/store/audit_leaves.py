"""Rows of the audit as leaves of its chain: each its id and the beginning of a hash of all that it says.

The form that is hashed is JSON: an array of the columns in the order of COLUMNS, moments in ISO 8601 with microseconds
in UTC, bytes in base64, keys of objects sorted. Whoever has an export can make the hashes again.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec

from fhir_server.store.database import Database, Tx
from fhir_server.store.wire import Rows

COLUMNS = (
    "tenant_id", "id", "at", "action", "subject", "client", "outcome", "request_id", "type", "resource_id", "version",
    "patient", "purpose", "token", "query", "peer", "detail",
)  # fmt: skip
_LEAF = struct.Struct("!q16s")
LEAF_BYTES = _LEAF.size
_encode = msgspec.json.Encoder(order="deterministic").encode
_BLOCK = struct.Struct("!qqiiqqi")
_AT_ONCE = 5000
# An audit tells of a moment shortly before its commit; of so long ago it is found only by a look at every day.
LATEST = timedelta(days=30)


class Span(msgspec.Struct, frozen=True):
    """Rows of a tenant that transactions from `since` to before `until` added; `until` None for all of the era.

    An era is one counting of transactions: its rows have ids above `after` up to `last`, None for no end.
    """

    era: int
    after: int
    last: int | None
    since: int
    until: int | None


class Leaf(msgspec.Struct, frozen=True):
    """A row's place and hash."""

    id: int
    day: date
    hash: bytes


def canonical(values: Sequence[Any]) -> bytes:
    """Return what is hashed of a row: its values by COLUMNS."""
    return _encode(values)


def leaf(values: Sequence[Any]) -> Leaf:
    """Return the leaf of a row by its values."""
    at: datetime = values[2]
    return Leaf(values[1], at.astimezone(UTC).date(), sha256(canonical(values)).digest()[:16])


def packed(leaves: Iterable[Leaf]) -> bytes:
    """Return leaves as a block keeps them, in the order of their ids."""
    return b"".join(_LEAF.pack(one.id, one.hash) for one in sorted(leaves, key=lambda one: one.id))


def unpacked(leaves: bytes) -> dict[int, bytes]:
    """Return the hashes in a block by the rows' ids."""
    return dict(_LEAF.iter_unpack(leaves))


def block_hash(previous: bytes, tenant_id: int, number: int, day: date, span: Span, leaves: bytes) -> bytes:
    """Return the hash of a block, which the next one names as its previous."""
    head = _BLOCK.pack(
        tenant_id, number, day.toordinal(), span.era, span.since, span.until or 0, len(leaves) // LEAF_BYTES
    )
    return sha256(b"concord.audit.block.1" + previous + head + leaves).digest()


_ROWS = (
    f"select xid::text::bigint, {', '.join(COLUMNS)} from audit where tenant_id = %s"  # noqa: S608
    " and (xid, id) > (%s::text::xid8, %s) and xid >= %s::text::xid8 and (%s::text is null or xid < %s::text::xid8)"
    " and id > %s and (%s::bigint is null or id <= %s::bigint) and (%s::timestamptz is null or at >= %s::timestamptz)"
    " order by xid, id limit %s"
)


async def rows(
    reader: Database | Tx, tenant_id: int, span: Span, not_before: datetime | None = None
) -> AsyncIterator[tuple[int, Sequence[Any]]]:
    """Give the rows of a span, each with its transaction, in their order; in pages, so that any number fit."""
    until = None if span.until is None else str(span.until)
    place = (str(span.since), -1)
    while True:
        params = (
            *(tenant_id, *place, str(span.since), until, until),
            *(span.after, span.last, span.last, not_before, not_before, _AT_ONCE),
        )
        found: Rows
        if isinstance(reader, Tx):
            found = await reader.fetch(_ROWS, params)
        else:
            found = await reader.fetch(tenant_id, _ROWS, params)
        for xid, *values in found:
            yield xid, values
        if len(found) < _AT_ONCE:
            return
        place = (str(found[-1][0]), found[-1][2])
