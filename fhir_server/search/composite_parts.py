"""What a composite parameter is made of: elements that hold its values, and the parts of each.

http://hl7.org/fhir/R4/search.html#composite

Where a resource has the element once (Observation itself), values of one element and of one resource are the same
thing, and the parts' own parameters answer. Of an element that repeats (Observation.component) each has
rows of its own in the index. A part that is read from the resource (`%resource.`) is asked of the resource either way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from conformance.fhirpath import Branch, Unsupported, branches, branches_below
from conformance.r4.facts import Component
from conformance.search_params import SearchParam
from fhir_server.search.date import INTERVALS
from fhir_server.search.number import SPANS
from fhir_server.search.reference import REFERENCES, URIS
from fhir_server.search.text import STRINGS
from fhir_server.search.token import HASHES

# By kind of part: the FHIR types that have values of it.
_TYPES: dict[str, Mapping[str, Any]] = {
    "token": HASHES,
    "reference": REFERENCES,
    "date": INTERVALS,
    "string": STRINGS,
    "number": SPANS,
    "quantity": SPANS,
    "uri": URIS,
}
_OF_RESOURCE = "%resource."
# Types in the tables that never have a value there.
_MUTE = {"date": frozenset(("Age", "Range", "string")), "number": frozenset(("SampledData",))}
_MUTE["quantity"] = _MUTE["number"]
# The index has room for as many in one row.
MAX_ORDERED, MAX_STRINGS = 2, 1
ORDERED = frozenset(("number", "quantity", "date"))
DISCRETE = frozenset(("token", "reference", "uri"))


class Part(msgspec.Struct, frozen=True):
    """One part: `branches` from the element, `whole` the same from the resource; `outside` where only that is meant."""

    kind: str
    branches: tuple[Branch, ...]
    whole: tuple[Branch, ...]
    outside: bool


class Within(msgspec.Struct, frozen=True):
    """An element that may repeat, with its parts in order: those with a parameter are asked of the resource.

    `name` tells the element and its parts, so that parameters with equal ones share the index.
    """

    name: str
    element: Branch
    parts: tuple[SearchParam, ...]
    outside: tuple[bool, ...]

    @property
    def salts(self) -> tuple[str, ...]:
        """Return the names of the salts of the element and its parts."""
        return (self.name, *(self.salt_of(number) for number in range(len(self.parts))))

    def salt_of(self, number: int) -> str:
        """Return the name of the salt of a part."""
        return f"{self.name}${number}"


# The parameters that answer for an element that a resource has once.
Together = tuple[SearchParam, ...]


class Composite(msgspec.Struct, frozen=True):
    """A composite as a type has it.

    `definitions` are the type's parameters that define its parts, `names` their codes; `own` are parameters made for it
    alone, which must be indexed.
    """

    definitions: tuple[SearchParam | None, ...]
    names: tuple[str, ...]
    together: tuple[Together, ...]
    within: tuple[Within, ...]
    own: tuple[SearchParam, ...]


def composite(params: Mapping[str, SearchParam], param: SearchParam) -> Composite | None:
    """Return how a composite parameter is answered; None for one that cannot be, and for any other kind."""
    if param.kind != "composite" or not param.components:
        return None
    by_url = {one.url: one for one in params.values()}
    definitions = tuple(by_url.get(component.definition) for component in param.components)
    kinds = tuple(one.kind if one else "" for one in definitions)
    try:
        found = _elements(param.base, param.expression, param.components, kinds)
    except Unsupported:
        return None
    made = _Made(params, param)
    for element, parts in found:
        made.take(element, parts)
    if not found:
        return None
    names = tuple(one.code if one else of.expression for one, of in zip(definitions, param.components, strict=True))
    return Composite(definitions, names, tuple(made.together), tuple(made.within), tuple(made.own.values()))


class _Made:
    """A composite while it is put together."""

    def __init__(self, params: Mapping[str, SearchParam], param: SearchParam) -> None:
        self.together: list[Together] = []
        self.within: list[Within] = []
        self.own: dict[str, SearchParam] = {}
        self._params, self._param = params, param

    def take(self, element: Branch, parts: tuple[Part, ...]) -> None:
        if element.single or all(part.outside for part in parts):
            self.together.append(tuple(self._of_resource(n, part) for n, part in enumerate(parts)))
            return
        inside = [
            self._of_resource(n, part) if part.outside else self._param_of(n, part.kind, part.branches)
            for n, part in enumerate(parts)
        ]
        paths = [f"{part.kind}{sorted(b.path for b in part.branches)}" for part in parts if not part.outside]
        outside = tuple(part.outside for part in parts)
        self.within.append(Within(f"{element.path}({';'.join(paths)})", element, tuple(inside), outside))

    def _of_resource(self, number: int, part: Part) -> SearchParam:
        """Return the type's parameter that finds these very values, or one made for them."""
        wanted = {branch.path for branch in part.whole}
        for one in self._params.values():
            if one.kind == part.kind and _paths(part.kind, one.branches) == wanted:
                return one
        made = self._param_of(number, part.kind, part.whole)
        return self.own.setdefault(made.code, made)

    def _param_of(self, number: int, kind: str, found: tuple[Branch, ...]) -> SearchParam:
        targets = tuple(dict.fromkeys(name for branch in found for name in branch.targets))
        code = f"{self._param.code}${number}"
        return SearchParam(code, kind, self._param.base, "", "", targets, (), found)


@lru_cache(maxsize=1024)
def _elements(
    base: str, expression: str, components: tuple[Component, ...], kinds: tuple[str, ...]
) -> tuple[tuple[Branch, tuple[Part, ...]], ...]:
    """Return the elements of a composite with their parts; of one that no element has nothing. Raises Unsupported."""
    found = []
    for element in branches(expression, base):
        parts = tuple(_part(base, element, *of) for of in zip(components, kinds, strict=True))
        if all(part.branches for part in parts):
            _check(parts)
            found.append((element, parts))
    return tuple(found)


def _part(base: str, element: Branch, component: Component, kind: str) -> Part:
    outside = component.expression.startswith(_OF_RESOURCE)
    if outside:
        below = branches(f"{base}.{component.expression.removeprefix(_OF_RESOURCE)}", base)
        whole = below
    else:
        below = branches_below(component.expression, Branch(None, element.type, "", ()))
        whole = branches_below(component.expression, element)
    kind = _kind(kind, below)
    return Part(kind, _meant(kind, below), _meant(kind, whole), outside)


def _kind(kind: str, found: Iterable[Branch]) -> str:
    """Return the kind of a part: its definition's, unless the element is of another.

    R4 names the definitions of DocumentReference's relationship in the wrong order.
    """
    types = {branch.type for branch in found}
    for name in (kind, *_TYPES):
        if not types.isdisjoint(_TYPES.get(name, ())):
            return name
    raise Unsupported(f"{' and '.join(sorted(types))} cannot be part of a composite")


def _meant(kind: str, found: Iterable[Branch]) -> tuple[Branch, ...]:
    mute = _MUTE.get(kind, frozenset())
    return tuple(branch for branch in found if branch.type in _TYPES[kind] and branch.type not in mute)


def _paths(kind: str, found: Iterable[Branch]) -> set[str]:
    mute = _MUTE.get(kind, frozenset())
    return {branch.path for branch in found if branch.type not in mute}


def _check(parts: tuple[Part, ...]) -> None:
    inside = [part.kind for part in parts if not part.outside]
    if sum(kind in ORDERED for kind in inside) > MAX_ORDERED or inside.count("string") > MAX_STRINGS:
        raise Unsupported(f"a composite of more than {MAX_ORDERED} numbers and dates, or of more than one string")
