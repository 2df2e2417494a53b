"""_include and _revinclude: what a page shall hold beside its matches. http://hl7.org/fhir/R4/search.html#include"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from conformance.r4.types import TYPE_CODES
from conformance.search_params import Registry, SearchParam
from fhir_server.search.chain import Unknown

NAMES = frozenset(("_include", "_revinclude"))
_ANY = "*"


class Include(msgspec.Struct, frozen=True):
    """References to follow: `links` are the parameters by the type that refers, `target` the type referred to if named.

    `reverse` follows them from what is referred to; `iterate` also from what was included.
    """

    links: Mapping[str, tuple[str, ...]]
    target: str | None
    reverse: bool
    iterate: bool


def parse(registry: Registry, name: str, value: str) -> Include:
    """Return what `_include=Observation:subject:Patient` and the like ask for; `*` stands for all references.

    Raises Unknown for a type or parameter that there is not, ValueError for what is no include.
    """
    code, _, modifier = name.partition(":")
    if modifier not in ("", "iterate"):
        raise ValueError(f"the modifier :{modifier[:100]} is not supported")
    source, _, rest = value.partition(":")
    wanted, _, target = rest.partition(":")
    if target and target not in TYPE_CODES:
        raise Unknown(f"{target[:100]!r} is not a resource type")
    links = _all(registry) if value == _ANY else {source: _codes(registry, source, wanted, target)}
    return Include(links, target or None, code == "_revinclude", bool(modifier))


def _all(registry: Registry) -> dict[str, tuple[str, ...]]:
    return {name: codes for name in TYPE_CODES if (codes := tuple(p.code for p in references(registry, name)))}


def _codes(registry: Registry, source: str, wanted: str, target: str) -> tuple[str, ...]:
    if source not in TYPE_CODES:
        raise Unknown(f"{source[:100]!r} is not a resource type")
    if not wanted:
        raise ValueError("write Type:reference, Type:reference:Target, Type:* or *")
    if wanted == _ANY:
        return tuple(param.code for param in references(registry, source))
    param = registry.for_type(source).get(wanted)
    if param is None or param.kind != "reference":
        raise Unknown(f"{source} has no search parameter {wanted[:100]!r} that is a reference")
    if target and target not in param.targets:
        raise ValueError(f"{wanted} of {source} does not lead to a {target}")
    return (param.code,)


def references(registry: Registry, resource_type: str) -> Sequence[SearchParam]:
    """Return the parameters of a type that are references and lead to types that are stored."""
    return registry.references(resource_type)
