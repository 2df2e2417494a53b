"""What keeps searches quick: the indexes that migrations make, fresh statistics, and few dead rows.

https://www.postgresql.org/docs/18/routine-vacuuming.html
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import psycopg
from psycopg import sql

# The tables that grow with what is stored, in the order in which they are looked after.
GROWING = ("resource", "idx_string", "idx_date", "idx_number", "idx_composite", "idx_text", "resource_history")
# As far as autovacuum lets it come before it sets to work, and somewhat further.
_SHARE, _LEAST = 0.3, 10_000
# The privilege to vacuum what one does not own.
MAINTAIN_FROM = 170_000

Connection = psycopg.AsyncConnection[Any]


async def unusable_indexes(connection: Connection) -> list[str]:
    """Return the indexes of the schema that are missing, or that PostgreSQL does not use."""
    from sqlalchemy import Index, PrimaryKeyConstraint, UniqueConstraint

    from fhir_server.store.schema import metadata  # whoever looks for no index need not load it

    named: list[Any] = [n for t in metadata.tables.values() for n in (*t.indexes, *t.constraints)]
    kinds = (Index, PrimaryKeyConstraint, UniqueConstraint)
    wanted = sorted(str(one.name) for one in named if one.name is not None and isinstance(one, kinds))
    found = "select relname from pg_class c join pg_index i on i.indexrelid = c.oid where indisvalid and indisready"
    rows = await (
        await connection.execute(
            f"select name from unnest(%s::text[]) name where name not in ({found}"  # noqa: S608
            " and relnamespace = 'public'::regnamespace)".encode(),
            (wanted,),
        )
    ).fetchall()
    return [name for (name,) in rows]


async def stale(connection: Connection) -> list[str]:
    """Return the tables whose statistics tell the planner of other contents than they have, each with the reason."""
    found = []
    for name, rows, changed, analysed, _ in await _counts(connection):
        if analysed < 0 and rows > _LEAST:
            found.append(f"{name} was never analysed")
        elif changed > _SHARE * max(analysed, 0) + _LEAST:
            found.append(f"{name} has {changed} changed rows since it was analysed, at {analysed:.0f}")
    return found


async def dead(connection: Connection) -> list[str]:
    """Return the tables that hold many rows which nobody sees any more, each with their number."""
    counts = await _counts(connection)
    return [f"{name} has {gone} beside {rows}" for name, rows, *_, gone in counts if gone > _SHARE * rows + _LEAST]


async def _counts(connection: Connection) -> Sequence[tuple[str, int, int, float, int]]:
    """Return by table: rows, rows changed since it was analysed, rows when that was (-1: never), dead rows."""
    rows = await connection.execute(
        b"""select s.relname, s.n_live_tup, s.n_mod_since_analyze, c.reltuples, s.n_dead_tup
            from pg_stat_user_tables s join pg_class c on c.oid = s.relid
            where s.schemaname = 'public' and s.relname = any(%s) order by s.relname""",
        (list(GROWING),),
    )
    return await rows.fetchall()


async def may_vacuum(connection: Connection) -> bool:
    """Tell whether the role may vacuum these tables: PostgreSQL 17 and later know a privilege for it."""
    if connection.info.server_version < MAINTAIN_FROM:
        return False
    asked = b"select bool_and(has_table_privilege(name, 'maintain')) from unnest(%s::text[]) name"
    row = await (await connection.execute(asked, (list(GROWING),))).fetchone()
    return bool(row and row[0])


async def vacuum(dsn: str) -> AsyncIterator[str]:
    """Vacuum and analyse the tables, giving the name of each before; nothing is given where the role may not.

    Raises psycopg.Error.
    """
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        if await may_vacuum(connection):
            await connection.execute(b"set statement_timeout = 0")
            for name in GROWING:
                yield name
                await connection.execute(sql.SQL("vacuum (analyze) public.{}").format(sql.Identifier(name)))
