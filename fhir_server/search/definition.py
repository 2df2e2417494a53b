"""A tenant's SearchParameter resource as parameters of the index, or every reason why it cannot be one.

http://hl7.org/fhir/R4/searchparameter.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from conformance.fhirpath import Branch, Unsupported, branches
from conformance.fhirpath_grammar import Binary, Expression, parse
from conformance.issue import Issue, error
from conformance.r4 import facts
from conformance.r4.facts import Component
from conformance.search_params import Registry, SearchParam, param_of
from conformance.structures import STORABLE
from fhir_server.search.composite_parts import composite
from fhir_server.search.reference import REFERENCES, URIS
from fhir_server.search.text import STRINGS
from fhir_server.search.token import HASHES

_AMOUNTS = frozenset(("Quantity", "Age", "Count", "Distance", "Duration", "Money", "Range"))
# By kind of parameter: the FHIR types of values that it can index.
USABLE: Mapping[str, frozenset[str]] = {
    "token": frozenset(HASHES),
    "reference": frozenset(REFERENCES),
    "uri": frozenset(URIS),
    "date": frozenset(("date", "dateTime", "instant", "Period", "Timing")),
    "string": frozenset(STRINGS),
    "number": frozenset(("decimal", "integer", "positiveInt", "unsignedInt", "Range")),
    "quantity": _AMOUNTS,
}
# http://hl7.org/fhir/R4/search.html#modifiers
_MODIFIERS: Mapping[str, frozenset[str]] = {
    "token": frozenset(("missing", "text", "not", "above", "below", "in", "not-in", "ofType")),
    "reference": frozenset(("missing", "type", "identifier", "above", "below")),
    "uri": frozenset(("missing", "above", "below")),
    "string": frozenset(("missing", "exact", "contains")),
}
_MISSING = frozenset(("missing",))
_COMPARED = frozenset(("number", "date", "quantity", "composite"))
# What a name in a query can be: neither '.', ':' and '$', which have a meaning there, nor the '_' of FHIR's own.
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,63}\Z")
_ANCESTORS: Mapping[str, tuple[str, ...]] = {
    "Resource": STORABLE,
    "DomainResource": tuple(name for name in STORABLE if facts.groups()[name].base == "DomainResource"),
}


class Definition(msgspec.Struct, frozen=True):
    """What of a SearchParameter says how resources are indexed; `types` are the resource types that it is one of."""

    url: str
    code: str
    type: str
    types: tuple[str, ...]
    expression: str
    target: tuple[str, ...] = ()
    component: tuple[Component, ...] = ()


def is_active(resource: Any) -> bool:
    """Tell whether a SearchParameter shall be searched: drafts and retired ones are stored only."""
    return bool(resource.status == "active")


def defined(resource: Any) -> Definition:
    """Return the definition in a decoded SearchParameter."""
    types = dict.fromkeys(name for base in resource.base for name in _ANCESTORS.get(base, (base,)))
    return Definition(
        url=resource.url,
        code=resource.code,
        type=resource.type,
        types=tuple(types),
        expression="" if resource.expression is UNSET else resource.expression,
        target=tuple(_given(resource.target)),
        component=tuple(Component(c.definition, c.expression) for c in _given(resource.component)),
    )


def _given(values: Any) -> Sequence[Any]:
    return () if values is UNSET else values


class Wrong(Exception):
    """A definition that cannot be searched, with every problem; paths begin with SearchParameter."""

    def __init__(self, issues: list[Issue]) -> None:
        self.issues = issues
        super().__init__("; ".join(issue.diagnostics for issue in issues))


def check(resource: Any) -> None:
    """Raise Wrong where a SearchParameter declares what its type does not have."""
    issues = list(_declared(resource))
    if issues:
        raise Wrong(issues)


def _declared(resource: Any) -> Iterator[Issue]:
    for base in resource.base:
        if base not in STORABLE and base not in _ANCESTORS:
            yield _problem("base", f"{base[:80]} is no resource type that is stored here")
    if resource.type == "special":
        yield _problem("type", "parameters of type special are part of the server: they cannot be defined")
    elif resource.type != "composite" and resource.expression is UNSET:
        yield _problem("expression", "an expression is needed: without one nothing can be searched")
    if resource.type == "composite" and not _given(resource.component):
        yield _problem("component", "a composite needs components")
    if resource.type != "composite" and _given(resource.component):
        yield _problem("component", "only a composite has components")
    if resource.type != "reference" and _given(resource.target):
        yield _problem("target", "only a reference has targets")
    for name in _given(resource.target):
        if name not in STORABLE:
            yield _problem("target", f"{name[:80]} is no resource type that is stored here")
    for name in _given(resource.modifier):
        if name not in _MODIFIERS.get(resource.type, _MISSING):
            yield _problem("modifier", f"a parameter of type {resource.type} has no modifier {name[:80]}")
    if resource.type not in _COMPARED:
        for name in _given(resource.comparator):
            if name != "eq":
                yield _problem("comparator", f"a parameter of type {resource.type} has no comparator {name[:80]}")


def compiled(definition: Definition, known: Registry, r4: Registry) -> tuple[SearchParam, ...]:
    """Return the parameters that a definition adds to those known, one for each type; none where R4 has them all.

    Raises Wrong for an expression that cannot be compiled or finds what the type of parameter cannot index, and for a
    code that means something else already.
    """
    issues: list[Issue] = []
    found: list[SearchParam] = []
    for name in definition.types:
        try:
            param = _param(definition, name, r4)
            if _is_new(param, known, r4):
                found.append(param)
        except (_Misfit, Unsupported) as problem:
            place = problem.place if isinstance(problem, _Misfit) else "expression"
            issues.append(_problem(place, f"{name}: {problem}"))
        except RecursionError:
            issues.append(_problem("expression", f"{name}: the expression is too long"))
    if issues:
        raise Wrong(issues[:_SHOWN])
    return tuple(found)


_SHOWN = 5


class _Misfit(ValueError):
    """A definition that does not fit its type or what is known; `place` is the element to blame."""

    def __init__(self, place: str, text: str) -> None:
        self.place = place
        super().__init__(text)


def _param(definition: Definition, name: str, r4: Registry) -> SearchParam:
    if definition.type == "composite":
        return _composite(definition, name, r4)
    tree = parse(definition.expression)
    found = tuple(branch for part in _parts(tree) for branch in _usable(part, name, definition.type))
    if not found:
        raise _Misfit("expression", f"{definition.expression[:200]!r} finds nothing in this type")
    param = param_of(_fact(definition, found), name, definition.expression, found)
    if definition.type == "reference" and not param.targets:
        raise _Misfit("target", "the elements that the expression finds refer to none of these types")
    return param


def _composite(definition: Definition, name: str, r4: Registry) -> SearchParam:
    params = r4.specified(name)
    # A tenant's own may change, and with it what the composite finds.
    strange = {component.definition for component in definition.component} - {one.url for one in params.values()}
    if strange:
        raise _Misfit("component", f"{', '.join(sorted(strange))[:200]} is no parameter of R4 that this type has")
    whole = branches(definition.expression or name, name)
    param = param_of(_fact(definition, whole), name, definition.expression or name, whole)
    if not composite(params, param):
        raise _Misfit("component", "these parts, read from this expression, cannot be searched together")
    return param


def _fact(definition: Definition, found: tuple[Branch, ...]) -> facts.SearchParameter:
    target = definition.target
    if definition.type == "reference" and not target:
        of_elements = {name for branch in found for name in branch.targets}
        anywhere = any(not branch.targets for branch in found) or "Resource" in of_elements
        target = STORABLE if anywhere else tuple(sorted(of_elements))
    return facts.SearchParameter(
        url=definition.url,
        code=definition.code,
        base=definition.types,
        type=definition.type,
        target=target,
        component=definition.component,
    )


def _parts(tree: Expression) -> Iterator[Expression]:
    """Yield the parts of a union, each of which must find something that can be indexed."""
    match tree:
        case Binary("|", left, right):
            yield from _parts(left)
            yield from _parts(right)
        case _:
            yield tree


def _usable(part: Expression, name: str, kind: str) -> list[Branch]:
    """Return the branches that a kind can index: of a choice those types alone, of anything else all or none."""
    found = branches(part, name)
    kept = [branch for branch in found if branch.type in USABLE[kind]]
    if found and not kept:
        types = ", ".join(sorted({branch.type for branch in found})[:_SHOWN])
        raise _Misfit("type", f"a parameter of type {kind} cannot be of {types}, which the expression finds")
    return kept


def _is_new(param: SearchParam, known: Registry, r4: Registry) -> bool:
    """Tell whether a parameter is to be added; raise _Misfit where its code is taken by one that means other things."""
    there = known.for_type(param.base).get(param.code)
    if there is None and not _CODE.match(param.code):
        raise _Misfit("code", "a name of letters, digits, '-' and '_' is expected, at most 64, and no '_' at the start")
    if there is not None and not (there is r4.for_type(param.base).get(param.code) and _same(there, param)):
        raise _Misfit("code", f"{param.code} is taken: {there.url} defines it as {there.type_and_expression}")
    return there is None


def _same(one: SearchParam, other: SearchParam) -> bool:
    """Tell whether two parameters find the same, so that one answers for the other."""
    if one.kind != other.kind:
        return False
    if one.kind == "composite":
        return [c.definition for c in one.components] == [c.definition for c in other.components]
    return _found(one) == _found(other)


def _found(param: SearchParam) -> set[tuple[str, str]]:
    usable = USABLE.get(param.kind, frozenset())
    return {(branch.path, branch.type) for branch in param.branches if branch.type in usable}


def _problem(element: str, text: str) -> Issue:
    return error("business-rule", text, f"SearchParameter.{element}")
