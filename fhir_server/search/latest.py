"""What is latest by a date of the resource itself: first when each was, then the bodies of those that are wanted.

http://hl7.org/fhir/R4/observation-operation-lastn.html
"""

from __future__ import annotations

from collections.abc import Sequence

from fhir_server.search.hashing import param_id
from fhir_server.search.kinds import long_param_id
from fhir_server.search.plan import Statement, condition, rows_of, seen_by
from fhir_server.search.request import SearchRequest
from fhir_server.search.tree import Tree


def moments(asked: SearchRequest, date: str, tenant_id: int, restrict: Tree, limit: int) -> Statement:
    """Return the statement for rows (rid, body, moment or null, type, id), the latest first.

    `date` is the search parameter that says when. At most one row more than `limit`.
    """
    where, params = rows_of(asked.type, asked.tree, tenant_id, restrict)
    sql = (
        "select found.rid, found.body, x.lo, found.type, found.id from"  # noqa: S608
        " (select resource.rid, resource.body, resource.type, resource.id"
        f" from resource where {where} limit %s) found"
        " left join lateral (select max(lo) as lo from idx_date"
        " where tenant_id = %s and rid = found.rid and param = any(%s::int[])) x on true"
        " order by x.lo desc nulls last, found.rid desc"
    )
    numbers = [param_id(asked.type, date), long_param_id(asked.type, date)]
    return Statement(sql, (*params, limit + 1, tenant_id, numbers), True)


def bodies(rids: Sequence[int], tenant_id: int, restrict: Tree) -> Statement:
    """Return the statement for rows (rid, id, body, patient, type) of these that the grant still may see."""
    allowed, values = condition(seen_by(restrict), tenant_id)
    sql = (
        "select resource.rid, resource.id, resource.body, resource.patient, resource.type from resource"  # noqa: S608
        " where resource.tenant_id = %s"
        f" and resource.rid = any(%s::bigint[]) and resource.body is not null and {allowed or 'true'}"
    )
    return Statement(sql, (tenant_id, list(rids), *values), True)
