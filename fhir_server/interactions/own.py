"""Each tenant's search parameters as this process knows them, and how it learns that they have changed.

A write is told by the database that its parameters are stale, in the statement that stores it. A search by R4's
parameters alone needs to know nothing; one that met a tenant's own looks afterwards whether they are still the same.
"""

from __future__ import annotations

import msgspec
import structlog

from conformance.search_params import Registry
from fhir_server.search.definition import Definition
from fhir_server.search.hashing import Hasher
from fhir_server.search.kinds import Indexer
from fhir_server.search.own import Known, Own, known
from fhir_server.store import parameters
from fhir_server.store.database import Database

_log = structlog.get_logger(__name__)


class Parameters:
    """The parameters of the tenants that this process has met; use it on one event loop."""

    def __init__(self, db: Database, base: Registry, hasher: Hasher, indexer: Indexer) -> None:
        """`base` and `indexer` are those of R4."""
        self._db, self._base, self._hasher, self._indexer = db, base, hasher, indexer
        self._met: dict[int, Known] = {}

    async def of(self, tenant_id: int) -> Known:
        """Return a tenant's parameters as they were when last looked at."""
        met = self._met.get(tenant_id)
        return await self.look(tenant_id) if met is None else met

    def met(self, tenant_id: int) -> Known | None:
        """Return a tenant's parameters as they were when last looked at, None where they never were."""
        return self._met.get(tenant_id)

    def forget(self, tenant_id: int) -> None:
        """Look at a tenant's parameters anew when they are needed next."""
        self._met.pop(tenant_id, None)

    async def look(self, tenant_id: int) -> Known:
        """Return a tenant's parameters as they are."""
        generation, stored = await parameters.load(self._db, tenant_id)
        own = [Own(s.id, s.generation, msgspec.convert(s.definition, Definition), s.ready) for s in stored]
        met = self._met.get(tenant_id)
        if met is None or met.generation != generation or met.own != own:
            met = self._met[tenant_id] = known(self._base, self._indexer, self._hasher, generation, own)
            for id_ in met.broken:
                _log.error("stored search parameter cannot be compiled", tenant=tenant_id, id=id_)
        return met
