"""The versions of one resource: the current row and the old ones it replaced.

http://hl7.org/fhir/R4/http.html#history
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from fhir_server.store.database import Database
from fhir_server.store.rows import Current


class Version(msgspec.Struct, frozen=True):
    """One version; `body` None means that it was the deletion."""

    version: int
    updated: datetime
    body: bytes | None


_OLD = """
select version, updated, body from resource_history
where tenant_id = %s and rid = %s and version < %s order by version desc limit %s
"""
_ONE = "select version, updated, body from resource_history where tenant_id = %s and rid = %s and version = %s"


async def instance(
    db: Database, tenant_id: int, row: Current, count: int, before_version: int | None = None
) -> list[Version]:
    """Return at most `count` versions, the newest first, of those before `before_version`."""
    before = row.version + 1 if before_version is None else before_version
    newest = [Version(row.version, row.updated, row.body)] if row.version < before else []
    older = await db.fetch(tenant_id, _OLD, (tenant_id, row.rid, min(before, row.version), count - len(newest)))
    return (newest + [Version(*version) for version in older])[:count]


async def version(db: Database, tenant_id: int, row: Current, number: int) -> Version | None:
    """Return one version of the resource, or None where it has none of that number."""
    if number == row.version:
        return Version(row.version, row.updated, row.body)
    rows = await db.fetch(tenant_id, _ONE, (tenant_id, row.rid, number))
    return Version(*rows[0]) if rows else None
