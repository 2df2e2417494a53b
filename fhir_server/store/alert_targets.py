"""Who is told of a clinic's alerts: e-mail addresses, and webhooks with the secret that signs what they get."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from fhir_server.store.database import Database, Tx

Kind = Literal["email", "webhook"]


class Target(msgspec.Struct, frozen=True):
    """A recipient; a webhook's secret is read by `secret` alone."""

    id: int
    kind: Kind
    address: str
    created: datetime
    author: str


_COLUMNS = "id, kind, address, created, author"
_ADD = f"""
insert into alert_target (tenant_id, kind, address, secret, created, author) values (%s, %s, %s, %s, %s, %s)
on conflict do nothing returning {_COLUMNS}
"""  # noqa: S608


async def listed(db: Database, tenant_id: int) -> list[Target]:
    """Return the recipients in the order in which they were added."""
    sql = f"select {_COLUMNS} from alert_target where tenant_id = %s order by id"  # noqa: S608
    return [Target(*row) for row in await db.fetch(tenant_id, sql, (tenant_id,))]


async def add(tx: Tx, kind: Kind, address: str, secret: bytes | None, author: str, now: datetime) -> Target | None:
    """Add a recipient and return it; None where there is one of this address. `secret` is kept sealed."""
    sealed = None
    if secret is not None:
        assert tx.tenant_id is not None
        sealed = await tx.database.seal(tx.tenant_id, _place(address), secret)
    rows = await tx.fetch(_ADD, (tx.tenant_id, kind, address, sealed, now, author))
    return Target(*rows[0]) if rows else None


async def remove(tx: Tx, address: str) -> bool:
    """Take away a recipient; False where there is none of this address."""
    sql = "delete from alert_target where tenant_id = %s and address = %s returning 1"
    return bool(await tx.fetch(sql, (tx.tenant_id, address)))


async def secret(db: Database, tenant_id: int, id_: int) -> tuple[str, bytes] | None:
    """Return the address of a webhook and its secret; None where it is no longer there."""
    sql = "select address, secret from alert_target where tenant_id = %s and id = %s and kind = 'webhook'"
    rows = await db.fetch(tenant_id, sql, (tenant_id, id_))
    if not rows:
        return None
    address, sealed = rows[0]
    return address, await db.unseal(tenant_id, _place(address), sealed)


def _place(address: str) -> bytes:
    return b"alert target " + address.encode()
