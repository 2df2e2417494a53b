"""Profiles, tags and security labels in use: statements for the rows that have any. http://hl7.org/fhir/R4/resource-operation-meta.html

The index holds them as hashes, which tell which rows have any; what they are is read from those rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from conformance.r4.types import TYPE_CODES
from fhir_server.search.plan import Statement, condition
from fhir_server.search.tree import Tree

ELEMENTS = {"_profile": "profile", "_security": "security", "_tag": "tag"}
PARAMETERS = tuple(ELEMENTS)


def labelled(
    allowed: Mapping[Tree, Sequence[str]], keys: Sequence[int], tenant_id: int, after: int, limit: int
) -> Statement:
    """Return the statement for rows (rid, body, type, id) that have labels, by rid, `limit` of them behind `after`.

    `allowed` gives the types by what the grant may see of them; of `keys`, a row holds one where it has any label.
    """
    groups, values = [], []
    for tree, types in allowed.items():
        where, params = condition(tree, tenant_id)
        groups.append(f"(resource.type = any(%s::smallint[]) and {where or 'true'})")
        values += [[TYPE_CODES[name] for name in types], *params]
    sql = (
        "select resource.rid, resource.body, resource.type, resource.id from resource"  # noqa: S608
        " where resource.tenant_id = %s and resource.rid > %s and resource.body is not null"
        f" and resource.keys && %s::bigint[] and ({' or '.join(groups)}) order by resource.rid limit %s"
    )
    return Statement(sql, (tenant_id, after, list(keys), *values, limit), True)
