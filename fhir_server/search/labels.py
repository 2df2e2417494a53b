"""Profiles, tags and security labels in use, as a statement. http://hl7.org/fhir/R4/resource-operation-meta.html

The index holds them as hashes, which tell which rows have any; what they are is read from those rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from conformance.r4.types import TYPE_CODES
from fhir_server.search.plan import Statement, condition
from fhir_server.search.tree import Tree

_ELEMENTS = {"_profile": "profile", "_security": "security", "_tag": "tag"}
PARAMETERS = tuple(_ELEMENTS)


def in_use(allowed: Mapping[Tree, Sequence[str]], keys: Sequence[int], tenant_id: int, limit: int) -> Statement:
    """Return the statement for rows (element, value as JSON), each once, at most one more than `limit`.

    `allowed` gives the types by what the grant may see of them; of `keys`, a row holds one where it has any label.
    """
    groups, values = [], []
    for tree, types in allowed.items():
        where, params = condition(tree, tenant_id)
        groups.append(f"(resource.type = any(%s::smallint[]) and {where or 'true'})")
        values += [[TYPE_CODES[name] for name in types], *params]
    labels = " union all ".join(
        f"select '{name}' as element, value::text from json_array_elements(found.meta -> '{name}') value"  # noqa: S608
        for name in _ELEMENTS.values()
    )
    sql = (
        "select distinct label.element, label.value from resource,"  # noqa: S608
        " lateral (select convert_from(resource.body, 'UTF8')::json -> 'meta' as meta offset 0) found,"
        f" lateral ({labels}) label"
        " where resource.tenant_id = %s and resource.body is not null and resource.keys && %s::bigint[]"
        f" and ({' or '.join(groups)}) limit %s"
    )
    return Statement(sql, (tenant_id, list(keys), *values, limit + 1), True)
