"""Statements that follow references: targets of a chain, what is referred to, includes. Permission stands in each.

http://hl7.org/fhir/R4/search.html#chaining

A chain is two statements: the self_keys of its targets, then the rows that hold one of them as a key. One statement
with a subquery makes the planner walk the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from conformance.r4.types import TYPE_CODES
from fhir_server.search.plan import Statement, condition, rows_of
from fhir_server.search.tree import AnyKey, Everything, Reverse, Tree

# Rows (rid, id, version, updated, body, type, patient).
_COLUMNS = (
    "resource.rid, resource.id, resource.version, resource.updated, resource.body, resource.type, resource.patient"
)


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


def included(
    rids: Sequence[int], salts: Sequence[int], types: Iterable[str], tenant_id: int, restrict: Tree, limit: int
) -> Statement:
    """Return the statement for what rows refer to by references with these salts, of these types.

    One row more than `limit`, where there is. A key that is no such reference leads to no row.
    """
    allowed, values = condition(restrict, tenant_id)
    sql = (
        f"select {_COLUMNS} from resource where resource.tenant_id = %s and resource.type = any(%s::smallint[])"  # noqa: S608
        f" and resource.body is not null and {allowed or 'true'} and resource.self_key = any(array("
        "select key # salt from resource source, unnest(source.keys) key, unnest(%s::bigint[]) salt"
        " where source.tenant_id = %s and source.rid = any(%s::bigint[]))) limit %s"
    )
    codes = [TYPE_CODES[name] for name in types]
    return Statement(sql, (tenant_id, codes, *values, list(salts), tenant_id, list(rids), limit + 1), True)


def including(keys: Sequence[int], types: Sequence[str], tenant_id: int, restrict: Tree, limit: int) -> Statement:
    """Return the statement for what holds one of these keys, of these types, newest first; one more than `limit`."""
    if len(types) == 1:
        where, values = rows_of(types[0], AnyKey(tuple(keys)), tenant_id, restrict)
        return Statement(f"select {_COLUMNS} from resource where {where} limit %s", (*values, limit + 1), True)  # noqa: S608
    allowed, values = ("true", ()) if isinstance(restrict, Everything) else condition(restrict, tenant_id)
    sql = (
        f"select {_COLUMNS} from resource where resource.tenant_id = %s and resource.keys && %s::bigint[]"  # noqa: S608
        f" and resource.type = any(%s::smallint[]) and resource.body is not null and {allowed}"
        " order by resource.updated + interval '0' desc, resource.rid desc limit %s"
    )
    codes = [TYPE_CODES[name] for name in types]
    return Statement(sql, (tenant_id, list(keys), codes, *values, limit + 1), True)
