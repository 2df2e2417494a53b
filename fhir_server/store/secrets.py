"""Secrets of a tenant by name: passwords and private keys that its channels need, sealed, given out to none but them.

Definitions name them, so that they can be kept in git, shown and rolled back without telling anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from fhir_server.errors import NotFound
from fhir_server.store.database import Database, Tx


class Named(msgspec.Struct, frozen=True):
    """A secret without its value: who gave it last, and when."""

    name: str
    author: str
    changed: datetime


_SET = """
insert into secret (tenant_id, name, value, author, changed) values (%s, %s, %s, %s, %s)
on conflict (tenant_id, name) do update
set value = excluded.value, author = excluded.author, changed = excluded.changed
"""


def put(tx: Tx, name: str, value: bytes, author: str, now: datetime) -> None:
    """Queue that a secret has this value from now on; after a fetch, by which the tenant's key is known."""
    assert tx.tenant_id is not None
    sealed = tx.database.keyring.seal(tx.tenant_id, _place(name), value)
    tx.defer(_SET, (tx.tenant_id, name, sealed, author, now))


async def drop(tx: Tx, name: str) -> bool:
    """Take a secret away; tell whether there was one."""
    sql = "delete from secret where tenant_id = %s and name = %s returning 1"
    return bool(await tx.fetch(sql, (tx.tenant_id, name)))


async def listed(db: Database, tenant_id: int) -> list[Named]:
    """Return the secrets of a tenant by name, without their values."""
    sql = "select name, author, changed from secret where tenant_id = %s order by name"
    return [Named(*row) for row in await db.fetch(tenant_id, sql, (tenant_id,))]


async def values(tx: Tx, names: Sequence[str]) -> dict[str, bytes]:
    """Return the values of those secrets of these names that there are. Raises errors.Unreadable."""
    if not names:
        return {}
    assert tx.tenant_id is not None
    sql = "select name, value from secret where tenant_id = %s and name = any(%s)"
    rows = await tx.fetch(sql, (tx.tenant_id, list(names)))
    return {name: await tx.database.unseal(tx.tenant_id, _place(name), value) for name, value in rows}


async def value(db: Database, tenant_id: int, name: str) -> bytes:
    """Return the value of a secret. Raises NotFound where there is none of this name, Unreadable."""
    async with db.transaction(tenant_id) as tx:
        found = await values(tx, [name])
    if name not in found:
        raise NotFound(f"there is no secret {name[:80]!r}: concord secret set")
    return found[name]


def _place(name: str) -> bytes:
    return b"secret/" + name.encode()
