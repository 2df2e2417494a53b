"""The applications that a tenant has registered, and which of their assertions were used.

https://www.rfc-editor.org/rfc/rfc6749#section-2 · https://www.rfc-editor.org/rfc/rfc7523#section-3
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from fhir_server.errors import Conflict
from fhir_server.store.database import Database, Tx

Kind = Literal["public", "symmetric", "asymmetric"]


class Client(msgspec.Struct, frozen=True):
    """An application; `scope` is the most that it may be granted.

    A public one proves nothing, a symmetric one has a secret, of which the hash is kept, an asymmetric one public keys,
    here (`jwks`) or at an address of its own (`jwks_uri`). `origins` are the web pages that may call from a browser.
    """

    client_id: str
    name: str
    scope: str
    jwks: dict[str, Any] | None
    created: datetime
    disabled: datetime | None = None
    kind: Kind = "asymmetric"
    jwks_uri: str | None = None
    secret_hash: bytes | None = None
    redirect_uris: Sequence[str] = ()
    launch_uri: str | None = None
    origins: Sequence[str] = ()


_COLUMNS = (
    "client_id, name, scope, jwks, created, disabled, kind, jwks_uri, secret_hash, redirect_uris, launch_uri, origins"
)
_ADD = f"""
insert into oauth_client (tenant_id, {_COLUMNS}) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
on conflict do nothing returning client_id
"""  # noqa: S608
_BY_ID = f"select {_COLUMNS} from oauth_client where tenant_id = %s and client_id = %s"  # noqa: S608
_USE = """
insert into oauth_assertion (tenant_id, client_id, jti, expires) values (%s, %s, %s, %s)
on conflict do nothing returning jti
"""
_FORGET = "delete from oauth_assertion where tenant_id = %s and client_id = %s and expires < %s"


async def add(db: Database, tenant_id: int, client: Client) -> None:
    """Register a client. Raises Conflict where the tenant has one of this id."""
    if not await db.fetch(tenant_id, _ADD, (tenant_id, *msgspec.structs.astuple(client))):
        raise Conflict(f"there is a client {client.client_id} already")


async def all_of(db: Database, tenant_id: int) -> list[Client]:
    """Return the tenant's clients, by name."""
    sql = f"select {_COLUMNS} from oauth_client where tenant_id = %s order by name, client_id"  # noqa: S608
    return [Client(*row) for row in await db.fetch(tenant_id, sql, (tenant_id,))]


async def by_id(db: Database, tenant_id: int, client_id: str) -> Client | None:
    """Return the tenant's client of this id, or None."""
    if "\0" in client_id:
        return None
    rows = await db.fetch(tenant_id, _BY_ID, (tenant_id, client_id))
    return Client(*rows[0]) if rows else None


async def within(tx: Tx, client_id: str) -> Client | None:
    """Return the client of this id in a transaction, or None."""
    rows = await tx.fetch(_BY_ID, (tx.tenant_id, client_id))
    return Client(*rows[0]) if rows else None


async def origins(db: Database, tenant_id: int) -> frozenset[str]:
    """Return the origins of the web pages that may call this tenant from a browser."""
    sql = "select distinct unnest(origins) from oauth_client where tenant_id = %s and disabled is null"
    return frozenset(origin for (origin,) in await db.fetch(tenant_id, sql, (tenant_id,)))


async def disable(db: Database, tenant_id: int, client_id: str, now: datetime) -> bool:
    """Give the client no more tokens; False where there is none."""
    sql = (
        "update oauth_client set disabled = coalesce(disabled, %s) where tenant_id = %s and client_id = %s"
        " returning client_id"
    )
    return bool(await db.fetch(tenant_id, sql, (now, tenant_id, client_id)))


async def change_secret(db: Database, tenant_id: int, client_id: str, secret_hash: bytes) -> bool:
    """Give a symmetric client another secret, the old one being good no more; False where there is no such client."""
    sql = (
        "update oauth_client set secret_hash = %s where tenant_id = %s and client_id = %s and kind = 'symmetric'"
        " returning client_id"
    )
    return bool(await db.fetch(tenant_id, sql, (secret_hash, tenant_id, client_id)))


async def use(tx: Tx, client_id: str, jti: str, expires: datetime, now: datetime) -> bool:
    """Mark an assertion as used and forget those that have expired; False where it was used before, by any process."""
    tx.defer(_FORGET, (tx.tenant_id, client_id, now))
    return bool(await tx.fetch(_USE, (tx.tenant_id, client_id, jti, expires)))
