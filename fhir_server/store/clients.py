"""The applications that a tenant has registered, and which of their assertions were used.

https://www.rfc-editor.org/rfc/rfc6749#section-2 · https://www.rfc-editor.org/rfc/rfc7523#section-3
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from fhir_server.errors import Conflict
from fhir_server.store.database import Database, Tx


class Client(msgspec.Struct, frozen=True):
    """A confidential client with asymmetric keys; `scope` is the most that it may be granted, `jwks` is public."""

    client_id: str
    name: str
    scope: str
    jwks: dict[str, Any]
    created: datetime
    disabled: datetime | None = None


_COLUMNS = "client_id, name, scope, jwks, created, disabled"
_ADD = """
insert into oauth_client (tenant_id, client_id, name, scope, jwks, created) values (%s, %s, %s, %s, %s, %s)
on conflict do nothing returning client_id
"""
_USE = """
insert into oauth_assertion (tenant_id, client_id, jti, expires) values (%s, %s, %s, %s)
on conflict do nothing returning jti
"""
_FORGET = "delete from oauth_assertion where tenant_id = %s and client_id = %s and expires < %s"


async def add(db: Database, tenant_id: int, client: Client) -> None:
    """Register a client. Raises Conflict where the tenant has one of this id."""
    values = (tenant_id, client.client_id, client.name, client.scope, client.jwks, client.created)
    if not await db.fetch(tenant_id, _ADD, values):
        raise Conflict(f"there is a client {client.client_id} already")


async def all_of(db: Database, tenant_id: int) -> list[Client]:
    """Return the tenant's clients, by name."""
    sql = f"select {_COLUMNS} from oauth_client where tenant_id = %s order by name, client_id"  # noqa: S608
    return [Client(*row) for row in await db.fetch(tenant_id, sql, (tenant_id,))]


async def by_id(db: Database, tenant_id: int, client_id: str) -> Client | None:
    """Return the tenant's client of this id, or None."""
    sql = f"select {_COLUMNS} from oauth_client where tenant_id = %s and client_id = %s"  # noqa: S608
    rows = await db.fetch(tenant_id, sql, (tenant_id, client_id))
    return Client(*rows[0]) if rows else None


async def disable(db: Database, tenant_id: int, client_id: str, now: datetime) -> bool:
    """Give the client no more tokens; False where there is none. Those it has expire by themselves."""
    sql = (
        "update oauth_client set disabled = coalesce(disabled, %s) where tenant_id = %s and client_id = %s"
        " returning client_id"
    )
    return bool(await db.fetch(tenant_id, sql, (now, tenant_id, client_id)))


async def use(tx: Tx, client_id: str, jti: str, expires: datetime, now: datetime) -> bool:
    """Mark an assertion as used and forget those that have expired; False where it was used before, by any process."""
    tx.defer(_FORGET, (tx.tenant_id, client_id, now))
    return bool(await tx.fetch(_USE, (tx.tenant_id, client_id, jti, expires)))
