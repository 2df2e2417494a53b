"""A pass over all resources of a type that makes their index entries anew, in batches of a transaction each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from fhir_server.store import narrow
from fhir_server.store.database import Tx
from fhir_server.store.resources import Entries
from fhir_server.store.rows import COLUMNS, Current


class Pass(msgspec.Struct, frozen=True):
    """How far a pass is: generations of parameters that are wanted, under way, and finished; ids up to `after` done."""

    wanted: int
    passing: int
    finished: int
    after: str


_STATE = "select wanted, passing, finished, after from search_pass where tenant_id = %s and type = %s"
_START = """
update search_pass set passing = %s, after = '', done = 0, failed = 0, total = null where tenant_id = %s and type = %s
"""
# All types that wait are counted with the first, so that a parameter of many types knows early how much there is.
_COUNT = """
update search_pass s set total = (select count(*) from resource r
    where r.tenant_id = s.tenant_id and r.type = s.type and r.body is not null)
where s.tenant_id = %s and s.total is null and s.wanted > s.finished
"""
_STARTED = """
update search_parameter set started = %s
where tenant_id = %s and %s = any(types) and generation <= %s and started is null
"""
_ROWS = f"""
select {COLUMNS} from resource where tenant_id = %s and type = %s and id > %s and body is not null order by id limit %s
"""  # noqa: S608
_STEP = """
update search_pass set after = %s, done = done + %s, failed = failed + %s where tenant_id = %s and type = %s
"""
_END = """
update search_pass set finished = passing, total = greatest(total, done), done = greatest(total, done)
where tenant_id = %s and type = %s
"""
_FINISHED = """
update search_parameter p set finished = %s
where p.tenant_id = %s and p.finished is null and not exists
    (select from unnest(p.types) t left join search_pass s on s.tenant_id = p.tenant_id and s.type = t
     where s.finished is null or s.finished < p.generation)
"""


async def state(tx: Tx, type_code: int) -> Pass | None:
    """Return how far the pass over a type is; None where none was ever wanted."""
    rows = await tx.fetch(_STATE, (tx.tenant_id, type_code))
    return Pass(*rows[0]) if rows else None


def start(tx: Tx, type_code: int, generation: int, now: datetime) -> None:
    """Queue that a pass begins which indexes by the parameters of this generation."""
    # To count takes as long as there are resources, and holds up nobody who reads or writes them.
    tx.defer("select set_config('statement_timeout', '0', true)")
    tx.defer(_START, (generation, tx.tenant_id, type_code))
    tx.defer(_COUNT, (tx.tenant_id,))
    tx.defer(_STARTED, (now, tx.tenant_id, type_code, generation))


async def rows(tx: Tx, type_code: int, after: str, most: int) -> list[Current]:
    """Return the next live rows by id, not locked: whoever writes one meanwhile indexes it himself."""
    return [Current(*row) for row in await tx.fetch(_ROWS, (tx.tenant_id, type_code, after, most))]


def step(tx: Tx, type_code: int, after: str, done: int, failed: int) -> None:
    """Queue that the rows up to this id are done."""
    tx.defer(_STEP, (after, done, failed, tx.tenant_id, type_code))


def end(tx: Tx, type_code: int, now: datetime) -> None:
    """Queue that the pass is done, and with it the parameters that waited for no other."""
    tx.defer(_END, (tx.tenant_id, type_code))
    tx.defer(_FINISHED, (now, tx.tenant_id))


# Locked in the order of all writers, and only as they were read: a newer version has its entries from its writer.
_LOCK = """
select r.rid from resource r join unnest(%s::bigint[], %s::int[]) as n (rid, version) using (rid, version)
where r.tenant_id = %s order by r.self_key for update of r
"""
_ENTRIES = """
update resource r set keys = n.keys::bigint[], narrow_hash = n.narrow_hash
from unnest(%s::bigint[], %s::text[], %s::bigint[]) as n (rid, keys, narrow_hash)
where r.tenant_id = %s and r.rid = n.rid
"""


async def index(tx: Tx, found: Sequence[tuple[Current, Entries]]) -> None:
    """Queue these entries for those rows that have others and are still the version that was read."""
    digests = {row.rid: narrow.digest(entries) for row, entries in found}
    differ = [(r, e) for r, e in found if r.keys != list(e.keys) or r.narrow_hash != digests[r.rid]]
    if not differ:
        return
    asked = ([row.rid for row, _ in differ], [row.version for row, _ in differ], tx.tenant_id)
    locked = {rid for (rid,) in await tx.fetch(_LOCK, asked)}
    kept = [(row, entries) for row, entries in differ if row.rid in locked]
    keys = ["{" + ",".join(map(str, entries.keys)) + "}" for _, entries in kept]
    rids = [row.rid for row, _ in kept]
    tx.defer(_ENTRIES, (rids, keys, [digests[rid] for rid in rids], tx.tenant_id))
    moved = [(row.rid, entries) for row, entries in kept if row.narrow_hash != digests[row.rid]]
    if moved:
        narrow.change(tx, [rid for rid, _ in moved], moved)
