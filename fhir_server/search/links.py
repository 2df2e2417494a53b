"""Statements that follow references: the targets of a chain, and what is referred to. Permission stands in each.

http://hl7.org/fhir/R4/search.html#chaining

A chain is two statements: the self_keys of its targets, then the rows that hold one of them as a key. One statement
with a subquery makes the planner walk the table.
"""

from __future__ import annotations

from conformance.r4.types import TYPE_CODES
from fhir_server.search.plan import Statement, rows_of
from fhir_server.search.tree import Reverse, Tree


def targets(resource_type: str, tree: Tree, tenant_id: int, restrict: Tree, limit: int) -> Statement:
    """Return the statement for the self_keys of the rows that a tree finds, at most one more than `limit`."""
    where, params = rows_of(resource_type, tree, tenant_id, restrict)
    sql = f"select resource.self_key from resource where {where} limit %s"  # noqa: S608
    return Statement(sql, (*params, limit + 1), True)


def referred(link: Reverse, tenant_id: int, restrict: Tree, limit: int) -> Statement:
    """Return the statement for one row: how many rows refer, and the self_keys of what they refer to by the link.

    `link.tree` holds no link that is still to be looked up. Where more than `limit` rows refer, the self_keys are left
    out: the number tells, being one more than `limit`. A key that is no reference of the link leads to no row.
    """
    where, params = rows_of(link.type, link.tree, tenant_id, restrict)
    sql = (
        f"with source as materialized (select resource.keys from resource where {where} limit %s),"  # noqa: S608
        " counted as materialized (select count(*) as n from source)"
        " select (select n from counted), array(select distinct target.self_key from source, unnest(source.keys) key"
        " join resource target on target.self_key = key # %s::bigint where target.tenant_id = %s and target.type = %s"
        " and (select n from counted) <= %s)"
    )
    return Statement(sql, (*params, limit + 1, link.salt, tenant_id, TYPE_CODES[link.target], limit), True)
