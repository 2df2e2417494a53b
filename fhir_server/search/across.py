"""A search of several types at once: one page of each, brought together. http://hl7.org/fhir/R4/http.html#search

No index orders rows of several types, so each type gives its own page by its own index, and the best of them make one.
"""

from __future__ import annotations

from collections.abc import Sequence

from conformance.r4.types import TYPE_CODES
from fhir_server.errors import Invalid
from fhir_server.search import plan
from fhir_server.search.plan import Statement
from fhir_server.search.request import SearchRequest
from fhir_server.search.tree import Tree

# A search of one type and what the grant may see of it.
Part = tuple[SearchRequest, Tree]


def select(parts: Sequence[Part], tenant_id: int) -> Statement:
    """Return the statement for a page of rows (rid, id, version, updated, body, type), and one row more.

    All parts have the same order, count and position. Raises Invalid for an order that types do not share.
    """
    first = parts[0][0]
    if [key.code for key in first.sort] != ["_lastUpdated"]:
        raise Invalid("a search of several types is sorted by _lastUpdated or -_lastUpdated", "http._sort")
    pieces, params = [], []
    for request, restrict in parts:
        made = plan.select(request, tenant_id, restrict)
        pieces.append(f"select page.*, %s::smallint as type from ({made.sql}) page")  # noqa: S608
        params += [TYPE_CODES[request.type], *made.params]
    way = "desc" if first.sort[0].descending else "asc"
    sql = f"{' union all '.join(pieces)} order by updated {way}, rid {way} limit %s"
    return Statement(sql, (*params, first.count + 1), True)


def count(parts: Sequence[Part], tenant_id: int) -> Statement:
    """Return the statement for the number of rows that match of each type, a row each."""
    made = [plan.count(request, tenant_id, restrict) for request, restrict in parts]
    return Statement(" union all ".join(one.sql for one in made), tuple(v for one in made for v in one.params), True)
