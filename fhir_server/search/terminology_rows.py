"""Statements that find a tenant's stored ValueSets and CodeSystems, and which of several versions is meant.

http://hl7.org/fhir/R4/valueset.html · http://hl7.org/fhir/R4/codesystem.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from conformance.r4.types import TYPE_CODES
from fhir_server.search.hashing import Hasher
from fhir_server.search.plan import Statement, condition
from fhir_server.search.tree import AllKeys, Everything, Tree, all_of

Definition = Literal["ValueSet", "CodeSystem"]
# Versions of one definition that are looked at, the newest first.
_MOST = 50
_NUMBERS = re.compile(r"\d+")


def key_of(kind: Definition, canonical: str, hasher: Hasher, tenant_id: int) -> tuple[str, int]:
    """Return by which column, and which key, the versions of a definition are found; a version in it is left out."""
    if canonical.startswith("ValueSet/"):
        return "self_key", hasher.self_key(tenant_id, kind, canonical.removeprefix("ValueSet/"))
    return "keys", hasher.uri(tenant_id, kind, "url", canonical.partition("|")[0])


def stored(wanted: Sequence[tuple[Definition, str, int]], tenant_id: int, allowed: Mapping[str, Tree]) -> Statement:
    """Return the statement for the rows (rid, version) of definitions, by kind, column and key."""
    pieces: list[str] = []
    params: list[Any] = []
    for kind, column, key in wanted:
        tree: Tree = AllKeys((key,)) if column == "keys" else Everything()
        where, values = condition(all_of((tree, allowed[kind])), tenant_id)
        own = "" if column == "keys" else " and resource.self_key = %s"
        pieces.append(
            "(select resource.rid, resource.version from resource where resource.tenant_id = %s"  # noqa: S608
            f" and resource.type = %s and resource.body is not null{own}{f' and {where}' if where else ''}"
            f" order by resource.updated desc limit {_MOST})"
        )
        params += [tenant_id, TYPE_CODES[kind], *([] if column == "keys" else [key]), *values]
    return Statement(" union all ".join(pieces), tuple(params), True)


BODIES = (
    "select resource.rid, resource.version, resource.body, resource.type, resource.id from resource"
    " where resource.tenant_id = %s and resource.rid = any(%s::bigint[]) and resource.body is not null"
)
MATCHING = "select u.text from unnest(%s::text[]) u (text) where u.text ~ %s"


def newest(found: Sequence[Mapping[str, Any]], version: str) -> Mapping[str, Any] | None:
    """Return the resource of this version, or else the newest: active before others, then by version and date."""
    usable = [one for one in found if one.get("content") != "supplement"]
    if version:
        usable = [one for one in usable if one.get("version") == version]
    return max(usable, key=_age, default=None)


def _age(resource: Mapping[str, Any]) -> tuple[Any, ...]:
    version = resource.get("version", "")
    numbers = [int(number) for number in _NUMBERS.findall(version)]
    updated = resource.get("meta", {}).get("lastUpdated", "")
    return resource.get("status") == "active", numbers, version, resource.get("date", ""), updated
