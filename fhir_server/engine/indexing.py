"""The job that indexes all resources of a type anew, a batch in a transaction, while everybody reads and writes.

What was done is committed with the mark of how far it is, so a worker that is killed loses nothing and another goes on.
"""

from __future__ import annotations

from datetime import datetime

from conformance.r4.types import CODE_TYPES
from conformance.structures import Refused, decode
from fhir_server.interactions import belong, consenting
from fhir_server.interactions.service import Service
from fhir_server.search.kinds import Entries
from fhir_server.search.reference import Place
from fhir_server.store import parameters, passes
from fhir_server.store.database import Tx
from fhir_server.store.rows import Current


async def batch(service: Service, tx: Tx, base: str, type_code: int, now: datetime) -> bool:
    """Index the next resources of a type; return whether none is left. `service` is of the tenant, at `base`.

    Raises database.Stale where the tenant's parameters are no longer those of the service.
    """
    parameters.hold(tx, service.generation)
    state = await passes.state(tx, type_code)
    if state is None or state.wanted <= state.finished:
        return True
    after = state.after
    if state.passing <= state.finished:
        passes.start(tx, type_code, service.generation, now)
        after = ""
    rows = await passes.rows(tx, type_code, after, service.limits.index_batch)
    found = [(row, entries) for row in rows if (entries := _entries(service, tx, base, row))]
    await passes.index(tx, found)
    assert tx.tenant_id is not None
    place, read = Place(service.hasher, tx.tenant_id, base), [row for row, _ in found]
    belong.anew(service, tx, place, read, now)
    consenting.anew(tx, place, read, now)
    if rows:
        passes.step(tx, type_code, rows[-1].id, len(rows), len(rows) - len(found))
    if len(rows) == service.limits.index_batch:
        return False
    passes.end(tx, type_code, now)
    # Parameters that came during the pass want another.
    return state.wanted <= (state.passing if state.passing > state.finished else service.generation)


def _entries(service: Service, tx: Tx, base: str, row: Current) -> Entries | None:
    """Return the entries of a row; None for one that an older version stored and this one cannot read."""
    name = CODE_TYPES[row.type]
    try:
        resource = decode(name, row.body or b"")
    except Refused:
        return None
    assert tx.tenant_id is not None
    return service.indexer.entries(tx.tenant_id, base, name, row.id, resource)
