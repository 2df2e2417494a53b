"""Keys are changed: a tenant's data key, by which new data are sealed, or the master key, which wraps those.

https://csrc.nist.gov/pubs/sp/800/57/pt1/r5/final
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from fhir_server.errors import Unreadable
from fhir_server.store.database import Database
from fhir_server.store.keys import SECRET
from fhir_server.store.masterkey import MasterKey
from fhir_server.store.opening import place

_STATUS = """
select t.id, t.name, count(k.id), max(k.id), max(k.created) from tenant t left join data_key k on k.tenant_id = t.id
group by t.id, t.name order by t.name
"""
_PLAIN = """
select (select count(*) from resource where tenant_id = %s and body is not null and codec = 0)
     + (select count(*) from resource_history where tenant_id = %s and body is not null and codec = 0)
     + (select count(*) from inbox where tenant_id = %s and (codec = 0 or codec = 2 and get_byte(raw, 1) = 0))
"""
_TOGETHER = 200
# A row that was written meanwhile has its body sealed by its writer.
_BODIES = {
    "resource": (
        "select rid, version, body, type, id from resource where tenant_id = %s and (rid, version) > (%s, %s)"
        " and body is not null and substring(body from 1 for %s::int) <> %s order by rid, version limit %s"
    ),
    "resource_history": (
        "select h.rid, h.version, h.body, h.type, r.id from resource_history h join resource r using (tenant_id, rid)"
        " where h.tenant_id = %s and (h.rid, h.version) > (%s, %s)"
        " and h.body is not null and substring(h.body from 1 for %s::int) <> %s order by h.rid, h.version limit %s"
    ),
}


class State(msgspec.Struct, frozen=True):
    """The keys of a tenant, the newest's number and moment, and how many bodies and messages are not encrypted."""

    tenant: str
    keys: int
    newest: int | None
    made: datetime | None
    plain: int


async def status(db: Database) -> list[State]:
    """Return how the tenants' data are encrypted. It counts, and so takes a while."""
    found = []
    for id_, name, keys, newest, made in await db.fetch(None, _STATUS):
        [(plain,)] = await db.fetch(id_, _PLAIN, (id_, id_, id_))
        found.append(State(name, keys, newest, made, plain))
    return found


async def rewrite(db: Database, tenant_id: int, told: Callable[[int], None]) -> int:
    """Seal all bodies by the tenant's newest key, and return how many had another; it may be stopped and run again.

    `db` is the owner's: the server's own role may not touch history.
    """
    await db.keyring.ready(db, tenant_id)
    done = 0
    for table, sql in _BODIES.items():
        after = (0, 0)
        while rows := await _step(db, tenant_id, table, sql, after):
            after = (rows[-1][0], rows[-1][1])
            done += len(rows)
            told(done)
    return done


async def _step(
    db: Database, tenant_id: int, table: str, sql: str, after: tuple[int, int]
) -> Sequence[tuple[Any, ...]]:
    head = db.keyring.head(tenant_id)
    rows = await db.fetch(tenant_id, sql, (tenant_id, *after, len(head), head, _TOGETHER))
    sealed = [db.keyring.sealed(tenant_id, place(type_, id_), body) for _, _, body, type_, id_ in rows]
    change = (
        f"update {table} r set body = n.body, codec = 1"  # noqa: S608
        " from unnest(%s::bigint[], %s::int[], %s::bytea[]) as n (rid, version, body)"
        " where r.tenant_id = %s and r.rid = n.rid and r.version = n.version"
    )
    if rows:
        await db.fetch(tenant_id, change, ([row[0] for row in rows], [row[1] for row in rows], sealed, tenant_id))
    return rows


async def change_master(db: Database, old: MasterKey, new: MasterKey) -> int:
    """Wrap every data key and the installation's secret by another master key; return how many keys there are.

    All in one transaction; nothing else is written anew. Raises Unreadable where the old key is not the one.
    """
    async with db.transaction(None) as tx:
        rows = await tx.fetch("select master_check, secret from installation where id = 1 for update")
        if not rows or rows[0][0] is None or not old.is_of(rows[0][0]):
            raise Unreadable("the master key is not the one by which what is stored was encrypted")
        keys = await tx.fetch("select tenant_id, id, wrapped from data_key for update")
        for tenant_id, number, wrapped in keys:
            again = new.wrap(tenant_id, number, old.unwrap(tenant_id, number, wrapped))
            sql = "update data_key set wrapped = %s where tenant_id = %s and id = %s"
            tx.defer(sql, (again, tenant_id, number))
        secret = new.seal(SECRET, old.open(SECRET, rows[0][1]))
        tx.defer("update installation set master_check = %s, secret = %s where id = 1", (new.check, secret))
    return len(keys)
