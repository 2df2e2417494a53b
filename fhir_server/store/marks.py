"""What a load has done already: ranges of items of a source, each committed with the items themselves."""

from __future__ import annotations

from fhir_server.store.database import Database, Tx

_DONE = 'insert into load_mark(tenant_id, source, "first", "last") values (%s, %s, %s, %s)'
_RANGES = 'select "first", "last" from load_mark where tenant_id = %s and source = %s order by "first"'


def done(tx: Tx, source: bytes, first: int, last: int) -> None:
    """Mark the items `first` to `last` of a source (the hash of its content) as loaded, with this transaction."""
    tx.defer(_DONE, (tx.tenant_id, source, first, last))


async def ranges(db: Database, tenant_id: int, source: bytes) -> list[tuple[int, int]]:
    """Return the ranges of a source that are loaded."""
    return [(int(first), int(last)) for first, last in await db.fetch(tenant_id, _RANGES, (tenant_id, source))]


async def refresh_statistics(db: Database) -> None:
    """Let the planner know how the tables have grown; autovacuum would come to it only later."""
    await db.fetch(None, "select refresh_statistics()")
