"""A server with settings of its own, and ways to keep its database from answering."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg

from fhir_server.store import tenants
from tests.fhir import Client, running

BLOCKED = "select count(*) from pg_stat_activity where cardinality(pg_blocking_pids(pid)) > 0 and datname = %s"


@asynccontextmanager
async def served(dsn: str, **settings: Any) -> AsyncIterator[Client]:
    """Give a client of a new tenant of a server with these settings."""
    async with running(dsn, **settings) as (concord, clock), httpx.AsyncClient(timeout=60) as http:
        tenant = await tenants.add(concord.db, f"l-{uuid.uuid4().hex[:12]}")
        yield Client(concord, clock, tenant, http)


def told(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Return the first issue of an answer that must be an OperationOutcome of this status."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["resourceType"] == "OperationOutcome"
    issue: dict[str, Any] = body["issue"][0]
    return issue


@asynccontextmanager
async def standing_still(admin_dsn: str) -> AsyncIterator[None]:
    """Hold the table of resources, so that every statement on it waits for us."""
    async with await psycopg.AsyncConnection.connect(admin_dsn) as admin:
        await admin.execute("lock table resource in access exclusive mode")
        yield
        await admin.rollback()


async def blocked(admin_dsn: str, number: int = 1) -> None:
    """Wait until so many statements wait for another's lock."""
    async with await psycopg.AsyncConnection.connect(admin_dsn, autocommit=True) as admin:
        for _ in range(3000):
            row = await (await admin.execute(BLOCKED, (admin.info.dbname,))).fetchone()
            if row is not None and row[0] >= number:
                return
            await asyncio.sleep(0.01)
    raise AssertionError(f"{number} statements never waited for a lock")
