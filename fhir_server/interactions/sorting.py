"""A page that is ordered by what only bodies tell: all that match are looked through, in batches.

http://hl7.org/fhir/R4/search.html#sort
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from conformance.issue import error
from fhir_server.errors import Invalid
from fhir_server.search import across, sort_values
from fhir_server.search.across import Part
from fhir_server.search.plan import Statement
from fhir_server.search.sort_values import Best
from fhir_server.store.wire import Rows

# Others have their turn after so many.
_TOGETHER = 500


async def sorted_rows(
    fetch: Callable[[Statement], Awaitable[Rows]], parts: Sequence[Part], tenant_id: int, most: int
) -> Rows:
    """Return the rows of a page and one more, as `plan.select` has them; raise Invalid where more than `most` match."""
    across.require_one_order(parts)
    first = parts[0][0]
    best = Best(first.sort, first.after, first.count + 1)
    left = most
    for request, restrict in parts:
        rids = sorted(rid for (rid,) in await fetch(sort_values.numbers(request, tenant_id, restrict, left)))
        left -= len(rids)
        if left < 0:
            raise Invalid([error("too-costly", f"more than {most} resources are to be sorted: narrow the search")])
        for at in range(0, len(rids), _TOGETHER):
            made = sort_values.rows(request, tenant_id, restrict, rids[at : at + _TOGETHER])
            best.add(await fetch(made))
    return best.rows()
