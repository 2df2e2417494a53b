"""The search parameters that tenants define: which there are, and how far the index has come with each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from fhir_server.store.database import Database, Tx

_HOLD = "select hold_search_generation(%s, %s)"


class Stored(msgspec.Struct, frozen=True):
    """A parameter; `id` is the resource's. `ready` says that every resource is indexed by it."""

    id: str
    generation: int
    definition: dict[str, Any]
    ready: bool


class Progress(msgspec.Struct, frozen=True):
    """How far a parameter is: resources done of `total` (None: not counted yet), `failed` ones could not be read."""

    generation: int
    created: datetime
    started: datetime | None
    finished: datetime | None
    done: int
    total: int | None
    failed: int


_GENERATION = "select search_generation from tenant where id = %s"


async def generation(db: Database, tenant_id: int) -> int:
    """Return the generation of a tenant's parameters."""
    rows = await db.fetch(None, _GENERATION, (tenant_id,))
    return int(rows[0][0]) if rows else 0


async def load(db: Database, tenant_id: int) -> tuple[int, list[Stored]]:
    """Return the generation of a tenant's parameters, and the parameters, oldest first.

    They may be newer than the generation, never older: who relies on it is then told that it is stale.
    """
    counted, rows = await db.run(
        tenant_id,
        (_GENERATION, (tenant_id,)),
        (
            "select id, generation, definition, finished is not null from search_parameter"
            " where tenant_id = %s order by generation, id",
            (tenant_id,),
        ),
    )
    return (counted[0][0] if counted else 0), [Stored(*row) for row in rows]


def hold(tx: Tx, generation: int) -> None:
    """Queue that the parameters stay as they are until the transaction ends; raises Stale where they have changed."""
    tx.defer(_HOLD, (tx.tenant_id, generation))


async def next_generation(tx: Tx, generation: int) -> int:
    """Return the next generation, once all who write by the one before are done. Raises Stale."""
    rows = await tx.fetch("select next_search_generation(%s, %s)", (tx.tenant_id, generation))
    return int(rows[0][0])


_PUT = """
insert into search_parameter (tenant_id, id, generation, definition, types, created)
values (%s, %s, %s, %s::jsonb, %s::smallint[], %s)
on conflict (tenant_id, id) do update set generation = excluded.generation, definition = excluded.definition,
    types = excluded.types, created = excluded.created, started = null, finished = null
"""
# A pass that is under way goes on, and another follows it; only where there is none a job is needed.
_WANT = """
with asked as (select unnest(%s::smallint[]) as type), busy as
    (select s.type from search_pass s join asked using (type) where s.tenant_id = %s and s.wanted > s.finished), made as
    (insert into search_pass (tenant_id, type, wanted) select %s, type, %s from asked
     on conflict (tenant_id, type) do update set wanted = excluded.wanted,
         total = case when search_pass.wanted > search_pass.finished then search_pass.total end)
select type from asked where type not in (select type from busy) order by type
"""


def put(tx: Tx, id_: str, generation: int, definition: Any, types: Sequence[int], now: datetime) -> None:
    """Queue that a resource defines this parameter, by which nothing is indexed yet."""
    tx.defer(_PUT, (tx.tenant_id, id_, generation, msgspec.json.encode(definition).decode(), list(types), now))


def remove(tx: Tx, ids: Sequence[str]) -> None:
    """Queue that these resources define no parameter any more."""
    tx.defer("delete from search_parameter where tenant_id = %s and id = any(%s::text[])", (tx.tenant_id, list(ids)))


async def want(tx: Tx, types: Sequence[int], generation: int) -> list[int]:
    """Have all resources of the types indexed anew, and return those types for which nobody is at it yet."""
    rows = await tx.fetch(_WANT, (sorted(types), tx.tenant_id, tx.tenant_id, generation))
    return [row[0] for row in rows]


_PROGRESS = """
select p.generation, p.created, p.started, p.finished,
    coalesce(sum(case when s.finished >= p.generation then coalesce(s.total, s.done)
                      when s.passing >= p.generation then least(s.done, s.total) else 0 end), 0)::bigint,
    case when count(s.total) filter (where s.finished < p.generation) =
              count(*) filter (where s.finished < p.generation) then sum(coalesce(s.total, s.done))::bigint end,
    coalesce(sum(s.failed), 0)::bigint
from search_parameter p left join search_pass s on s.tenant_id = p.tenant_id and s.type = any(p.types)
where p.tenant_id = %s and p.id = %s
group by p.generation, p.created, p.started, p.finished, p.types
"""


async def progress(db: Database, tenant_id: int, id_: str) -> Progress | None:
    """Return how far the parameter is that a resource defines; None where it defines none."""
    rows = await db.fetch(tenant_id, _PROGRESS, (tenant_id, id_))
    return Progress(*rows[0]) if rows else None
