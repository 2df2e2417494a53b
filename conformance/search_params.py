"""Which search parameters each resource type has, with their paths compiled. http://hl7.org/fhir/R4/searchparameter.html"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from types import MappingProxyType

import msgspec

from conformance.fhirpath import Branch, branches
from conformance.fhirpath_grammar import parse
from conformance.r4 import facts
from conformance.r4.facts import Component
from conformance.r4.types import TYPE_CODES

_NONE: Mapping[str, SearchParam] = MappingProxyType({})
# A parameter of these is one of every storable type; all of those but three are domain resources.
_FOR_ALL = frozenset(("Resource", "DomainResource"))


class SearchParam(msgspec.Struct, frozen=True):
    """A search parameter as one resource type has it.

    `kind` is token, reference, string, date, uri, number, quantity, composite or special; `branches` find its values.
    """

    code: str
    kind: str
    base: str
    expression: str
    url: str
    targets: tuple[str, ...]
    components: tuple[Component, ...]
    branches: tuple[Branch, ...]

    @property
    def type_and_expression(self) -> str:
        """Return what it is in a few words."""
        return f"{self.kind} {self.expression}"

    @property
    def types(self) -> frozenset[str]:
        """Return the FHIR types that its values may have."""
        return frozenset(branch.type for branch in self.branches)

    @property
    def single(self) -> bool:
        """Tell whether a resource has one value of it at most; of a choice there is one type at a time."""
        return len({branch.element for branch in self.branches}) == 1 and all(branch.single for branch in self.branches)


class Registry:
    """The search parameters by resource type and code. Raises Unsupported for one whose path cannot be compiled.

    `touched` tells whether what was asked of it may be answered differently once a tenant changes its own parameters:
    never, where there are none of a tenant.
    """

    touched = False
    # By type, codes of parameters by which nobody may search here; "_text" and "_content" among them.
    veiled: Mapping[str, frozenset[str]] = MappingProxyType({})

    def __init__(self, definitions: Iterable[facts.SearchParameter]) -> None:
        self._by_type: dict[str, dict[str, SearchParam]] = {name: {} for name in TYPE_CODES}
        without: list[str] = []
        for definition in definitions:
            if definition.expression is None:
                without.append(definition.code)
            else:
                self._add(definition, definition.expression)
        self.without_expression = tuple(without)
        self._first: Mapping[str, Mapping[str, SearchParam]] = self._by_type
        self._references: dict[str, tuple[SearchParam, ...]] = {}

    @classmethod
    def r4(cls) -> Registry:
        """Return the parameters that the specification defines."""
        return cls(facts.search_parameters())

    def extended(self, more: Iterable[SearchParam]) -> Registry:
        """Return a registry that has these parameters too."""
        registry = copy(self)
        registry._by_type = dict(self._by_type)
        registry._first = self._first
        registry._references = {}
        for param in more:
            if registry._by_type[param.base] is self._by_type[param.base]:
                registry._by_type[param.base] = dict(self._by_type[param.base])
            registry._by_type[param.base][param.code] = param
        return registry

    def for_type(self, resource_type: str) -> Mapping[str, SearchParam]:
        """Return the parameters of a resource type by code, those of every resource among them."""
        found = self._by_type.get(resource_type)
        return _NONE if found is None else MappingProxyType(found)

    def specified(self, resource_type: str) -> Mapping[str, SearchParam]:
        """Return the parameters of a type that the registry had before it was extended: those of the specification."""
        return self._first.get(resource_type, _NONE)

    def references(self, resource_type: str) -> Sequence[SearchParam]:
        """Return the parameters of a type that are references and lead to types that are stored."""
        found = self._references.get(resource_type)
        if found is None:
            found = tuple(p for p in self.for_type(resource_type).values() if p.kind == "reference" and p.targets)
            self._references[resource_type] = found
        return found

    def _add(self, definition: facts.SearchParameter, expression: str) -> None:
        tree = parse(expression)
        names = TYPE_CODES if _FOR_ALL.intersection(definition.base) else definition.base
        for name in names:
            self._by_type[name][definition.code] = param_of(definition, name, expression, branches(tree, name))


def param_of(definition: facts.SearchParameter, base: str, expression: str, found: tuple[Branch, ...]) -> SearchParam:
    """Return a definition's parameter of one resource type, whose values these branches find."""
    return SearchParam(
        code=definition.code,
        kind=definition.type,
        base=base,
        expression=expression,
        url=definition.url,
        targets=_targets(definition, found),
        components=definition.component,
        branches=found,
    )


def _targets(definition: facts.SearchParameter, found: tuple[Branch, ...]) -> tuple[str, ...]:
    """Return the types that the elements may point at: a definition for several types names those of them all."""
    if not all(branch.targets for branch in found):
        return definition.target
    of_elements = {name for branch in found for name in branch.targets}
    return tuple(name for name in definition.target if name in of_elements)
