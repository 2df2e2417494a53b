"""A search of several types at once: one page of each, brought together. http://hl7.org/fhir/R4/http.html#search

No index orders rows of several types, so each type gives its own page by its own index, and the best of them make one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhir_server.errors import Invalid
from fhir_server.search import order, plan
from fhir_server.search.plan import UNKNOWN, Statement
from fhir_server.search.request import SearchRequest
from fhir_server.search.tree import Tree
from fhir_server.store.shares import Shares

# A search of one type and what the grant may see of it.
Part = tuple[SearchRequest, Tree]


def require_one_order(parts: Sequence[Part]) -> None:
    """Raise Invalid for an order that types do not share."""
    first = parts[0][0]
    for other, _ in parts[1:]:
        for key, same in zip(other.sort, first.sort, strict=True):
            if key.kind != same.kind:
                text = f"{key.code} of {other.type} and of {first.type} are of different types: no order has both"
                raise Invalid(text, "http._sort")


def select(parts: Sequence[Part], tenant_id: int, shares: Shares = UNKNOWN) -> Statement:
    """Return the statement for a page of rows of a page as `plan.select` has them, and one more.

    All parts have the same order, count and position. Raises Invalid for an order that types do not share.
    """
    require_one_order(parts)
    first = parts[0][0]
    pieces: list[str] = []
    params: list[Any] = []
    for request, restrict in parts:
        made = plan.select(request, tenant_id, restrict, shares)
        pieces.append(f"select page.* from ({made.sql}) page")  # noqa: S608
        params += made.params
    sql = f"select * from ({' union all '.join(pieces)}) page order by {order.outer(first.sort)} limit %s"  # noqa: S608
    return Statement(sql, (*params, first.count + 1), True)


def count(parts: Sequence[Part], tenant_id: int) -> Statement:
    """Return the statement for the number of rows that match of each type, a row each."""
    made = [plan.count(request, tenant_id, restrict) for request, restrict in parts]
    return Statement(" union all ".join(one.sql for one in made), tuple(v for one in made for v in one.params), True)


def found(parts: Sequence[Part], tenant_id: int) -> Statement:
    """Return the statement for all rows that match, without columns: the planner says how many it expects."""
    made = [plan.found(request, tenant_id, restrict) for request, restrict in parts]
    return Statement(" union all ".join(one.sql for one in made), tuple(v for one in made for v in one.params), True)
