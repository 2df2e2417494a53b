"""Bodies of named versions of resources, several at one time."""

from __future__ import annotations

from collections.abc import Sequence

from conformance.r4.types import TYPE_CODES
from fhir_server.store.database import Tx

_BODIES = """
select case when r.version = w.version then r.body else h.body end as body, r.type, r.id
from unnest(%s::smallint[], %s::text[], %s::int[]) with ordinality w (type, id, version, n)
join resource r on r.tenant_id = %s and r.type = w.type and r.id = w.id
left join resource_history h on h.tenant_id = %s and h.rid = r.rid and h.version = w.version
order by w.n
"""


async def bodies(tx: Tx, references: Sequence[str]) -> list[bytes | None]:
    """Return the bodies of versions (`Type/id/_history/version`) that there are, in order; None was a deletion."""
    parts = [reference.split("/") for reference in references]
    columns = ([TYPE_CODES[p[0]] for p in parts], [p[1] for p in parts], [int(p[3]) for p in parts])
    return [body for body, _, _ in await tx.fetch(_BODIES, (*columns, tx.tenant_id, tx.tenant_id))]
