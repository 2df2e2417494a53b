"""Tenants: the clinics that share this installation."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fhir_server.context import Tenant
from fhir_server.errors import Conflict, Invalid
from fhir_server.store.database import Database

# It stands in addresses and as a label in host names; the table checks the same.
QUARANTINE = "quarantine"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")


async def add(db: Database, name: str, settings: Mapping[str, Any] | None = None) -> Tenant:
    """Make a tenant. Raises Invalid for a name that cannot stand in an address, Conflict for one that exists."""
    if not NAME.match(name):
        raise Invalid(f"{name[:80]!r} is no name for a tenant: 1 to 63 of a-z 0-9 -, not - first")
    sql = "insert into tenant (name, settings) values (%s, %s) on conflict do nothing returning id"
    rows = await db.fetch(None, sql, (name, dict(settings or {})))
    if not rows:
        raise Conflict(f"there is a tenant {name} already")
    return Tenant(rows[0][0], name)


async def quarantine(db: Database) -> Tenant:
    """Return the tenant, made on first use, that keeps messages of senders whom no channel knows."""
    await db.fetch(None, "insert into tenant (name) values (%s) on conflict do nothing", (QUARANTINE,))
    found = await by_name(db, QUARANTINE)
    assert found is not None
    return found


async def all_of(db: Database) -> list[Tenant]:
    """Return all tenants, by name."""
    return [Tenant(*row) for row in await db.fetch(None, "select id, name from tenant order by name")]


async def by_name(db: Database, name: str) -> Tenant | None:
    """Return the tenant of this name, or None."""
    rows = await db.fetch(None, "select id, name from tenant where name = %s", (name,))
    return Tenant(*rows[0]) if rows else None


async def by_id(db: Database, tenant_id: int) -> Tenant | None:
    """Return the tenant of this id, or None."""
    rows = await db.fetch(None, "select id, name from tenant where id = %s", (tenant_id,))
    return Tenant(*rows[0]) if rows else None


async def settings(db: Database, tenant_id: int) -> dict[str, Any]:
    """Return the settings of a tenant. Raises Invalid where there is no such tenant."""
    rows = await db.fetch(None, "select settings from tenant where id = %s", (tenant_id,))
    if not rows:
        raise Invalid(f"there is no tenant {tenant_id}")
    return dict(rows[0][0])


def finder(db: Database) -> Callable[[str], Awaitable[Tenant | None]]:
    """Return `by_name` that remembers whom it found: a tenant keeps its name for good."""
    known: dict[str, Tenant] = {}

    async def find(name: str) -> Tenant | None:
        tenant = known.get(name)
        if tenant is None and NAME.match(name) and (tenant := await by_name(db, name)) is not None:
            known[name] = tenant
        return tenant

    return find
