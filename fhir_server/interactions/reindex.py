"""All resources of a tenant are indexed anew, while everybody reads and writes: after an upgrade that indexes more."""

from __future__ import annotations

from datetime import datetime

from fhir_server.context import Tenant
from fhir_server.interactions.define import JOB
from fhir_server.interactions.service import Service
from fhir_server.store import jobs, parameters, resources
from fhir_server.store.jobs import NewJob


async def reindex(service: Service, tenant: Tenant, now: datetime) -> int:
    """Queue a pass over each type that has resources, and return how many there are.

    Workers do them in batches; one that is killed loses nothing. Raises database.Stale where the tenant's search
    parameters change at this very moment.
    """
    generation = await parameters.generation(service.db, tenant.id)
    async with service.db.transaction(tenant.id) as tx:
        types = await resources.types(tx)
        # Writers of the generation before are done when this one begins, so no row falls between.
        wanted = await parameters.next_generation(tx, generation)
        idle = await parameters.want(tx, types, wanted)
        order = service.hasher.salt
        jobs.add(tx, [NewJob(JOB, {"type": code}, order(tenant.id, str(code), JOB)) for code in idle], now)
    return len(types)
