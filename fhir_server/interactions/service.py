"""What every interaction needs and app builds once: database, indexer, policy, limits."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Self

import msgspec

from conformance.search_params import Registry
from fhir_server.interactions.kept import Kept
from fhir_server.interactions.own import Parameters
from fhir_server.limits import Limits
from fhir_server.search.hashing import Hasher
from fhir_server.search.kinds import Indexer
from fhir_server.search.own import Known
from fhir_server.search.page import Pager
from fhir_server.search.seal import Seal
from fhir_server.smart.policy import Rules
from fhir_server.store.database import Database
from fhir_server.store.objects import Objects
from fhir_server.store.recorder import Recorder
from fhir_server.store.resources import Loader, Rids
from fhir_server.store.shares import KnownShares

Veiled = Mapping[str, frozenset[str]]
NOTHING: Veiled = MappingProxyType({})


class Service(msgspec.Struct, frozen=True):
    """The parts of the server that interactions work with; no module keeps state of its own.

    As app builds it, `registry` and `indexer` are those of R4; `of` gives a tenant's, of `generation`.
    """

    db: Database
    loader: Loader
    rids: Rids
    registry: Registry
    hasher: Hasher
    indexer: Indexer
    pager: Pager
    limits: Limits
    seal: Seal
    kept: Kept
    objects: Objects
    parameters: Parameters
    shares: KnownShares
    rules: Rules
    recorder: Recorder
    generation: int = 0

    async def of(self, tenant_id: int, veiled: Veiled = NOTHING) -> Self:
        """Return the service with a tenant's search parameters, for one request, but for those that are veiled."""
        return self._with(await self.parameters.of(tenant_id), veiled)

    async def renewed(self, tenant_id: int) -> Self:
        """Return the service with a tenant's search parameters as the database has them now."""
        return self._with(await self.parameters.look(tenant_id), self.registry.veiled)

    def _with(self, known: Known, veiled: Veiled) -> Self:
        return msgspec.structs.replace(
            self, registry=known.watched(veiled), indexer=known.indexer, generation=known.generation
        )
