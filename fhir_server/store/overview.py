"""What operators and load balancers ask of the database: can it serve, and how much waits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import psycopg

from fhir_server.errors import FhirError
from fhir_server.store import messages, tenants
from fhir_server.store.database import Database
from fhir_server.store.migrate import newest


async def unready(db: Database) -> str | None:
    """Return why requests cannot be served, in one sentence, or None where they can."""
    try:
        rows = await db.probe("select version_num from alembic_version")
    except (FhirError, psycopg.Error):
        return "the database does not answer, or was never migrated"
    found = rows[0][0] if rows else "nothing"
    return None if found == newest() else f"the schema is at {found}, this program needs {newest()}: concord migrate"


async def queue(db: Database) -> tuple[int, datetime | None]:
    """Return how many messages and jobs wait, in all tenants, and since when the oldest does."""
    rows = await db.fetch(None, "select count(*), min(queued) from job_ticket where kind > 0")
    return rows[0][0], rows[0][1]


async def message_counts(db: Database, names: Collection[str] | None = None) -> dict[str, Mapping[str, int]]:
    """Return the number of messages by tenant, of those named, and state; each tenant in its own transaction."""
    wanted = [tenant for tenant in await tenants.all_of(db) if names is None or tenant.name in names]
    return {tenant.name: await messages.counts(db, tenant.id) for tenant in wanted}
