"""A running server, and clients of two tenants of it that no other test uses."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import httpx
import pytest

from fhir_server.store import tenants
from tests.fhir import NO_TLS, Client, running
from tests.signin import ada, quick  # noqa: F401 - fixtures


@pytest.fixture
async def fhir(server_dsn: str) -> AsyncIterator[Client]:
    """Return a client of a new tenant."""
    async with running(server_dsn) as (concord, clock), httpx.AsyncClient(timeout=30, verify=NO_TLS) as http:
        tenant = await tenants.add(concord.db, f"t-{uuid.uuid4().hex[:12]}")
        yield Client(concord, clock, tenant, http)


@pytest.fixture
async def other(fhir: Client) -> Client:
    """Return a client of another new tenant of the same server."""
    tenant = await tenants.add(fhir.concord.db, f"o-{uuid.uuid4().hex[:12]}")
    return Client(fhir.concord, fhir.clock, tenant, fhir.http)
