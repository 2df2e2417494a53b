"""Many small searches as one statement: which rows the criteria of one write name. Nothing here executes.

http://hl7.org/fhir/R4/http.html#ccreate
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from conformance.r4.types import TYPE_CODES
from fhir_server.search.plan import condition
from fhir_server.search.tree import AllKeys, Tree


class Named(Protocol):
    """One of the searches: rows that `tree` finds and `restrict` shows, `most` and one more; `may` is told."""

    @property
    def type(self) -> str:
        """The resource type."""

    @property
    def tree(self) -> Tree:
        """What is asked for."""

    @property
    def restrict(self) -> Tree:
        """What the grant may search."""

    @property
    def may(self) -> Tree:
        """What the grant may do with a row."""

    @property
    def most(self) -> int:
        """How many rows are wanted."""


_COLUMNS = (
    "resource.id, resource.version, resource.updated, resource.self_key, resource.body, resource.patient, resource.type"
)
_Sql = tuple[str, tuple[object, ...]]


def by_key(tenant_id: int, group: Sequence[tuple[int, Named]]) -> _Sql:
    """Return one statement for criteria that ask for one key each, under one permission."""
    allowed, allowed_values = condition(group[0][1].restrict, tenant_id)
    may, may_values = condition(group[0][1].may, tenant_id)
    sql = (
        "select wanted.n, r.* from unnest(%s::int[], %s::smallint[], %s::bigint[], %s::int[])"  # noqa: S608
        " as wanted (n, type, key, most) cross join lateral"
        f" (select {_COLUMNS}, {may or 'true'} from resource where resource.tenant_id = %s"
        # The key is of the type already: said plainly, the planner would read all that is of the type for a single row.
        " and nullif(resource.type = wanted.type, false) is not null and resource.keys @> array[wanted.key]"
        " and resource.body is not null"
        f" and {allowed or 'true'} order by resource.rid limit wanted.most) r"
    )
    keys = [one.tree.keys[0] for _, one in group if isinstance(one.tree, AllKeys)]
    wanted = (
        [number for number, _ in group],
        [TYPE_CODES[one.type] for _, one in group],
        keys,
        [one.most + 1 for _, one in group],
    )
    return sql, (*wanted, *may_values, tenant_id, *allowed_values)


def one_by_one(tenant_id: int, group: Sequence[tuple[int, Named]]) -> _Sql:
    """Return one statement for criteria of any kind."""
    pieces, values = [], []
    for number, one in group:
        may, may_values = condition(one.may, tenant_id)
        where, where_values = condition(one.tree, tenant_id)
        allowed, allowed_values = condition(one.restrict, tenant_id)
        pieces.append(
            f"(select %s::int, {_COLUMNS}, {may or 'true'} from resource"  # noqa: S608
            " where resource.tenant_id = %s and resource.type = %s and resource.body is not null"
            f" and {where} and {allowed or 'true'} order by resource.rid + 0 limit %s)"
        )
        values += [number, *may_values, tenant_id, TYPE_CODES[one.type], *where_values, *allowed_values, one.most + 1]
    return " union all ".join(pieces), tuple(values)


def told(tenant_id: int, self_keys: Sequence[int], trees: Sequence[Tree]) -> _Sql:
    """Return the statement that locks rows, in the order of their keys, and tells of each which trees it meets."""
    asked = [condition(tree, tenant_id) for tree in trees]
    columns = "".join(f", ({where or 'true'}) is true" for where, _ in asked)
    sql = (
        f"select resource.self_key{columns} from resource where resource.tenant_id = %s"  # noqa: S608
        " and resource.self_key = any(%s::bigint[]) order by resource.self_key for update of resource"
    )
    return sql, (*(value for _, values in asked for value in values), tenant_id, list(self_keys))


def held_by(tenant_id: int, rids: Sequence[int], trees: Sequence[Tree]) -> _Sql:
    """Return the statement that tells of each row, deleted or not, which trees it meets."""
    asked = [condition(tree, tenant_id) for tree in trees]
    columns = "".join(f", ({where or 'true'}) is true" for where, _ in asked)
    sql = (
        f"select resource.rid{columns} from resource where resource.tenant_id = %s"  # noqa: S608
        " and resource.rid = any(%s::bigint[])"
    )
    return sql, (*(value for _, values in asked for value in values), tenant_id, list(rids))
