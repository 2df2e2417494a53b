"""The sealer: committed rows of the audit become blocks, each of which holds the hash of the one before it.

A chain inside each transaction would have a tenant's writes wait for one another. So rows are chained afterwards, as
soon as no transaction before a certain one can still add any: https://www.postgresql.org/docs/18/functions-info.html
(pg_snapshot_xmin). Blocks are by day, so that old days can be dropped and the chain still be followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import msgspec

from fhir_server.store.audit_leaves import LATEST, Leaf, Span, block_hash, leaf, packed, rows
from fhir_server.store.database import Database, Tx

GENESIS = bytes(32)
_LOCK = "select pg_try_advisory_xact_lock(hashtextextended('concord.audit.seal', %s))"
_ERAS = "select number, after, lead(after) over (order by number) from audit_era order by number"
_LAST = (
    "select number, hash, era, until from audit_block where tenant_id = %s union all"
    " select number, hash, 0, 0 from audit_start where tenant_id = %s order by number desc, era desc limit 1"
)
_HORIZON = "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
_ADD = (
    "insert into audit_block (tenant_id, number, day, era, since, until, rows, leaves, previous, hash, sealed)"
    " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)


class Last(msgspec.Struct, frozen=True):
    """The newest block of a chain, or where it starts: its number, its hash, and up to which transaction it goes."""

    number: int = 0
    hash: bytes = GENESIS
    era: int = 0
    until: int = 0


async def seal(db: Database, tenant_id: int, now: datetime, *, whole: bool = False) -> int:
    """Put what is committed and in no block yet into blocks, and return how many rows that were.

    Who comes while another seals does nothing. Rows that tell of long ago are looked for only where `whole`.
    """
    async with db.transaction(tenant_id) as tx:
        ((mine,),) = await tx.fetch(_LOCK, (tenant_id,))
        if not mine:
            return 0
        sealed = 0
        found = await tx.fetch(_LAST, (tenant_id, tenant_id))
        last = Last(*found[0]) if found else Last()
        for span in await _spans(tx, last):
            made = await _gathered(tx, tenant_id, span, None if whole else now - LATEST)
            for day, leaves in sorted(made.items()):
                last = _add(tx, tenant_id, last, day, span, leaves, now)
                sealed += len(leaves)
    return sealed


async def _spans(tx: Tx, last: Last) -> Sequence[Span]:
    """Return what is still to be sealed: the rest of eras that are over, and of this one what no one can add to."""
    eras = await tx.fetch(_ERAS)
    ((horizon,),) = await tx.fetch(_HORIZON)
    since = {last.era: last.until}
    return [
        Span(number, after, end, since.get(number, 0), horizon if end is None else _END)
        for number, after, end in eras
        if number >= last.era
    ]


# Beyond every transaction: of an era that is over, all is committed.
_END = 2**62


async def _gathered(tx: Tx, tenant_id: int, span: Span, not_before: datetime | None) -> dict[date, list[Leaf]]:
    found: dict[date, list[Leaf]] = {}
    async for _, values in rows(tx, tenant_id, span, not_before):
        one = leaf(values)
        found.setdefault(one.day, []).append(one)
    return found


def _add(tx: Tx, tenant_id: int, last: Last, day: date, span: Span, leaves: Sequence[Leaf], now: datetime) -> Last:
    number, body = last.number + 1, packed(leaves)
    until = span.until or 0
    made = block_hash(last.hash, tenant_id, number, day, span, body)
    tx.defer(
        _ADD,
        (tenant_id, number, day, span.era, span.since, until, len(leaves), body, last.hash, made, now),
    )
    return Last(number, made, span.era, until)
