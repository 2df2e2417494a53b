"""`_sort`: which values of a resource put it where, and where they stand. http://hl7.org/fhir/R4/search.html#sort

Of several values the one counts that comes first in the order that is asked for; what has none comes last, either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from conformance.search_params import Registry, SearchParam
from fhir_server.search.hashing import param_id
from fhir_server.search.kinds import long_param_id
from fhir_server.search.reference import URIS

# Where the values stand: in a column of the row, in one of the narrow tables, or in the body.
Kind: TypeAlias = Literal["updated", "id", "date", "string", "number", "body"]
_COLUMNS: dict[str, Kind] = {"_lastUpdated": "updated", "_id": "id"}
# A name or an address is several strings.
_ONE_STRING = frozenset(("string", "markdown", *URIS))


class Sort(msgspec.Struct, frozen=True):
    """One key of the order.

    `params` number its entries in a narrow table; `single` says that a resource has one at most. `param` finds the
    values that only the body has, and `own` is the base that references here may be written with.
    """

    code: str = "_lastUpdated"
    descending: bool = True
    kind: Kind = "updated"
    params: tuple[int, ...] = ()
    single: bool = True
    param: SearchParam | None = None
    own: str = ""


def read(registry: Registry, base: str, resource_type: str, value: str, most: int) -> tuple[Sort, ...]:
    """Return the keys that the value of `_sort` names, the first to count first, `most` of them.

    Raises ValueError for what the type does not have or cannot be sorted by: an order is never left out in part.
    """
    names = value.split(",")
    if len(names) > most:
        raise ValueError(f"more than {most} parameters to sort by")
    keys: list[Sort] = []
    for name in names:
        code = name.removeprefix("-")
        if not code:
            raise ValueError("the name of a search parameter is missing")
        keys.append(_key(registry, base, resource_type, code, name != code))
    # Nothing comes after what no two resources share.
    first_id = next((at for at, key in enumerate(keys) if key.kind == "id"), len(keys))
    return tuple(keys[: first_id + 1])


def shown(sort: Sequence[Sort]) -> str:
    """Return the keys as the value of `_sort`."""
    return ",".join(f"{'-' if key.descending else ''}{key.code}" for key in sort)


def _key(registry: Registry, base: str, resource_type: str, code: str, descending: bool) -> Sort:
    if kind := _COLUMNS.get(code):
        return Sort(code, descending, kind)
    if "." in code or ":" in code:
        raise ValueError(f"{code[:100]} cannot be sorted by: the name of a search parameter is expected, as it is")
    param = registry.for_type(resource_type).get(code)
    if param is None or code in registry.veiled.get(resource_type, ()):
        raise ValueError(f"{resource_type} has no search parameter {code[:100]!r} to sort by")
    numbers = (param_id(param.base, code),)
    match param.kind:
        case "date":
            return Sort(code, descending, "date", (*numbers, long_param_id(param.base, code)), param.single)
        case "string" | "uri":
            return Sort(code, descending, "string", numbers, param.single and param.types <= _ONE_STRING)
        case "number" | "quantity":
            return Sort(code, descending, "number", numbers, param.single)
        case "token" | "reference":
            own = f"{base}/" if param.kind == "reference" else ""
            return Sort(code, descending, "body", single=False, param=param, own=own)
    raise ValueError(f"{code} cannot be sorted by: it is a search parameter of type {param.kind}")
