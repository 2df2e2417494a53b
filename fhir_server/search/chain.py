"""Chains (`subject:Patient.name`) and reverse chains (`_has:Observation:patient:code`), to any depth.

http://hl7.org/fhir/R4/search.html#chaining · http://hl7.org/fhir/R4/search.html#has
"""

from __future__ import annotations

import re
from collections.abc import Callable

from conformance.r4.types import TYPE_CODES
from conformance.search_params import Registry, SearchParam
from fhir_server.search.reference import Place
from fhir_server.search.tree import Chained, IdIn, Reverse, Tree

HAS = "_has:"
LIST = "_list"
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")

# Returns the tree of the rest of a chain on a type.
Read = Callable[[str, str], Tree]


class Unknown(Exception):
    """A parameter that the type does not have, or that is of a kind not searched: a lenient search leaves it out."""


def linked(name: str) -> bool:
    """Tell whether a parameter asks about other resources than its own type's."""
    return name.startswith(HAS) or "." in name


def link(place: Place, registry: Registry, resource_type: str, name: str, most: int, read: Read) -> Tree:
    """Return the tree of a chain or reverse chain. Raises Unknown, or ValueError for one that cannot be followed.

    A reference that may lead to more types than `most` is followed only where the chain names one.
    """
    if name.startswith(HAS):
        return _reverse(place, registry, resource_type, name, read)
    return _chained(place, registry, resource_type, name, most, read)


def _chained(place: Place, registry: Registry, resource_type: str, name: str, most: int, read: Read) -> Tree:
    head, _, rest = name.partition(".")
    code, _, wanted = head.partition(":")
    param = _reference(registry, resource_type, code)
    types = (wanted,) if wanted else param.targets
    if wanted and wanted not in param.targets:
        raise ValueError(f"{code[:100]} of {resource_type} does not lead to a {wanted[:100]}")
    if len(types) > most:
        raise ValueError(f"{code} may lead to any type: name one, such as {code}:Patient.{rest[:100]}")
    found: list[tuple[str, Tree]] = []
    unknown: Unknown | None = None
    for kind in types:
        try:
            found.append((kind, read(kind, rest)))
        except Unknown as problem:
            unknown = problem
    if not found:
        raise unknown or Unknown(f"{code} of {resource_type} leads to no type that is stored here")
    return Chained(_salt(place, param), tuple(found))


def _reverse(place: Place, registry: Registry, resource_type: str, name: str, read: Read) -> Tree:
    parts = name.split(":", 3)
    if len(parts) < 4 or not parts[3]:
        raise ValueError("_has is written _has:Type:reference:parameter, such as _has:Observation:patient:code")
    _, kind, code, rest = parts
    if kind not in TYPE_CODES:
        raise ValueError(f"{kind[:100]!r} is not a resource type")
    param = _reference(registry, kind, code)
    if resource_type not in param.targets:
        raise ValueError(f"{code} of {kind} does not lead to a {resource_type}")
    return Reverse(_salt(place, param), kind, resource_type, read(kind, rest))


def member(place: Place, resource_type: str, value: str) -> Tree:
    """Return the tree of `_list=42`: what stands in that List. Raises ValueError for a list that is no resource."""
    names = value.split(",")
    if not all(_ID.match(name) for name in names):
        raise ValueError("the id of a List is expected; functional lists are not kept here")
    salt = place.hasher.salt(place.tenant_id, "List", "item")
    return Reverse(salt, "List", resource_type, IdIn(tuple(names)))


def _reference(registry: Registry, resource_type: str, code: str) -> SearchParam:
    param = registry.for_type(resource_type).get(code)
    if param is None:
        raise Unknown(f"{resource_type} has no search parameter {code[:100]!r}")
    if param.kind != "reference":
        raise ValueError(f"{code} of {resource_type} is no reference, and leads nowhere")
    return param


def _salt(place: Place, param: SearchParam) -> int:
    return place.hasher.salt(place.tenant_id, param.base, param.code)
