"""Search parameters' FHIRPath compiled to plain closures over the Structs of `conformance.r4.model`.

http://hl7.org/fhirpath/N1/ · http://hl7.org/fhir/R4/fhirpath.html

Types are settled when compiling: each branch of a result knows its FHIR type and the one element of the resource where
it starts, so that an indexer looks only at elements that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from keyword import iskeyword
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import UNSET

from conformance.fhirpath_criteria import Values, criterion
from conformance.fhirpath_grammar import (
    Binary,
    Call,
    Expression,
    Index,
    Literal,
    Name,
    This,
    TypeTest,
    Unsupported,
    parse,
)
from conformance.r4.facts import Element, Group, groups, is_primitive, spelled
from conformance.r4.types import TYPE_CODES

__all__ = ["Branch", "Unsupported", "branches", "branches_below", "compile_path"]

Step = Callable[[Sequence[Any]], Sequence[Any]]
# What may stand at the start of a path beside the name of the resource type itself.
_ANCESTORS = ("Resource", "DomainResource")
# FHIRPath's own types that search parameters name where they mean the FHIR type.
_SYSTEM = {name: name[0].lower() + name[1:] for name in ("Boolean", "Date", "DateTime", "Decimal", "Integer", "String")}
# More branches than this and a wildcard such as extension.value has been repeated on itself.
_MAX_FLOWS = 500


class Branch(msgspec.Struct, frozen=True):
    """Values of one FHIR type, found from one element of the resource (None: from the resource itself).

    `path` names elements and criteria, so branches of equal path find equal values; `element` is the path as FHIR has
    it, with `[x]` for a choice; `single` says that it never finds two values; `required` is the canonical URL of the
    value set that the values must be from, `targets` are the types that references may point at (none: any).
    """

    attribute: str | None
    type: str
    path: str
    steps: tuple[Step, ...]
    many: bool = False
    required: str | None = None
    targets: tuple[str, ...] = ()
    element: str = ""
    single: bool = True

    def values(self, start: Any) -> Sequence[Any]:
        """Return the values, given what stands under `attribute` (never UNSET), or the resource."""
        items: Sequence[Any] = start if self.many else (start,)
        for step in self.steps:
            items = step(items)
        return items


def compile_path(expression: str, resource_type: str) -> Callable[[msgspec.Struct], list[Any]]:
    """Return what finds the expression's values in a resource of the type. Raises Unsupported."""
    compiled = branches(expression, resource_type)

    def find(resource: msgspec.Struct) -> list[Any]:
        found: list[Any] = []
        for branch in compiled:
            start = getattr(resource, branch.attribute) if branch.attribute else resource
            if start is not UNSET:
                found += branch.values(start)
        return found

    return find


def branches(expression: str | Expression, resource_type: str) -> tuple[Branch, ...]:
    """Return the branches of an expression (text, or parsed already) for a resource type. Raises Unsupported.

    Parts of a union that speak of other resource types give none.
    """
    tree = parse(expression) if isinstance(expression, str) else expression
    start = Branch(None, resource_type, "", ())
    return tuple(_flows(tree, start, resource_type))


def branches_below(expression: str, this: Branch) -> tuple[Branch, ...]:
    """Return the branches of an expression that is asked of what a branch finds. Raises Unsupported."""
    return tuple(_flows(parse(expression), this, None))


def _flows(tree: Expression, this: Branch, resource_type: str | None) -> list[Branch]:
    """Return the branches of `tree`; `this` is the item asked about, `resource_type` is None inside a criterion."""
    match tree:
        case This():
            return [this]
        case Name(None, name) if resource_type and (name == resource_type or name in _ANCESTORS):
            return [this]
        case Name(None, name) if resource_type and name in TYPE_CODES:
            return []
        case Name(target, name):
            return _members(_of(target, this, resource_type), name)
        case Binary("|", left, right):
            return _flows(left, this, resource_type) + _flows(right, this, resource_type)
        case TypeTest(target, "as", name):
            return _typed(_flows(target, this, resource_type), name)
        case Index(target, number):
            return [_step(b, _at(number)) for b in _flows(target, this, resource_type)]
        case Call(target, function, arguments) if function in _FUNCTIONS:
            return _FUNCTIONS[function](_flows(target, this, resource_type), arguments)
    return [_truth(tree, this, resource_type)]


def _of(target: Expression | None, this: Branch, resource_type: str | None) -> list[Branch]:
    return [this] if target is None else _flows(target, this, resource_type)


def _truth(tree: Expression, this: Branch, resource_type: str | None) -> Branch:
    """Return the branch of a boolean expression: one value, or none where FHIRPath's three-valued logic has none."""
    test = criterion(tree, _asker(this, resource_type))

    def run(items: Sequence[Any]) -> list[bool]:
        return [verdict for item in items if (verdict := test(item)) is not None]

    path = f"{this.path}?{tree}"
    return msgspec.structs.replace(this, type="boolean", path=path, steps=(*this.steps, run))


# ---- elements ---------------------------------------------------------------------------------------------------


def _members(flows: list[Branch], name: str) -> list[Branch]:
    """Return the branches into an element; of a choice, those types that have it."""
    found = [_into(flow, *of) for flow in flows for of in _elements(groups().get(flow.type), name)]
    if flows and not found:
        raise Unsupported(f"{' and '.join(sorted({flow.type for flow in flows}))} has no element {name!r}")
    if len(found) > _MAX_FLOWS:
        raise Unsupported(f"more than {_MAX_FLOWS} types of value")
    return found


def _elements(group: Group | None, name: str) -> list[tuple[str, str, str, Element]]:
    """Return FHIR name, JSON name, type and element of a member by its FHIRPath name; a choice has several."""
    if group is None:
        return []
    choice = f"{name}[x]"
    if element := group.elements.get(choice):
        return [(choice, attribute, kind, element) for attribute, kind in spelled(choice, element)]
    if element := group.elements.get(name):
        return [(name, name, kind, element) for _, kind in spelled(name, element)]
    choices = [(key, element) for key, element in group.elements.items() if key.endswith("[x]")]
    return [(key, a, kind, element) for key, element in choices for a, kind in spelled(key, element) if a == name]


def _into(flow: Branch, key: str, name: str, kind: str, element: Element) -> Branch:
    attribute = f"{name}_" if iskeyword(name) else name
    # In an array of primitives null stands for a value that has only extensions.
    present = (_present,) if element.repeats and is_primitive(kind) else ()
    first = flow.attribute is None and not flow.steps
    take = () if first else (_all(attribute) if element.repeats else _one(attribute),)
    return Branch(
        attribute=attribute if first else flow.attribute,
        type=element.content or (f"{flow.type}.{name}" if kind in ("BackboneElement", "Element") else kind),
        path=f"{flow.path}.{attribute}",
        steps=(*flow.steps, *take, *present),
        many=element.repeats if first else flow.many,
        required=element.required,
        targets=element.targets,
        element=f"{flow.element}.{key}",
        single=flow.single and not element.repeats,
    )


def _one(attribute: str) -> Step:
    get = attrgetter(attribute)
    return lambda items: [value for item in items if (value := get(item)) is not UNSET]


def _all(attribute: str) -> Step:
    get = attrgetter(attribute)
    return lambda items: [value for item in items if (values := get(item)) is not UNSET for value in values]


def _present(items: Sequence[Any]) -> Sequence[Any]:
    return [item for item in items if item is not None]


# What is added to the path, and the step.
_Further = tuple[str, Step]


def _at(number: int) -> _Further:
    return f"[{number}]", lambda items: items[number : number + 1]


def _step(flow: Branch, further: _Further) -> Branch:
    text, step = further
    return msgspec.structs.replace(flow, path=flow.path + text, steps=(*flow.steps, step))


# ---- types ------------------------------------------------------------------------------------------------------


def _typed(flows: list[Branch], name: str) -> list[Branch]:
    name = _SYSTEM.get(name, name)
    if name not in groups() and not is_primitive(name):
        raise Unsupported(f"{name!r} is not a type")
    return [flow for flow in flows if _is(flow.type, name)]


def _is(kind: str, name: str) -> bool:
    if kind == name:
        return True
    base = group.base if (group := groups().get(kind)) else None
    return base is not None and base in groups() and _is(base, name)


def _type_name(arguments: tuple[Expression, ...]) -> str:
    match arguments:
        case (Name(None | Name(None, "FHIR" | "System"), name),):
            return name
    raise Unsupported("a type is expected in the brackets")


# ---- functions --------------------------------------------------------------------------------------------------


def _where(flows: list[Branch], arguments: tuple[Expression, ...]) -> list[Branch]:
    if len(arguments) != 1:
        raise Unsupported("where() takes one criterion")
    kept = [_step(flow, _kept(flow, arguments[0])) for flow in flows]
    match arguments[0]:
        case TypeTest(Call(This(), "resolve", ()), "is", name):
            return [msgspec.structs.replace(flow, targets=(name,)) for flow in kept]
    return kept


def _kept(flow: Branch, tree: Expression) -> _Further:
    test = criterion(tree, _asker(Branch(None, flow.type, "", ()), None))
    return f"[{tree}]", lambda items: [item for item in items if test(item)]


def _extension(flows: list[Branch], arguments: tuple[Expression, ...]) -> list[Branch]:
    match arguments:
        case (Literal(str()),):
            has_url = Binary("=", Name(None, "url"), arguments[0])
            return _where(_members(flows, "extension"), (has_url,))
    raise Unsupported("extension() takes one URL")


def _first(flows: list[Branch], arguments: tuple[Expression, ...]) -> list[Branch]:
    if arguments:
        raise Unsupported("first() takes nothing")
    return [_step(flow, _at(0)) for flow in flows]


_FUNCTIONS: dict[str, Callable[[list[Branch], tuple[Expression, ...]], list[Branch]]] = {
    "as": lambda flows, arguments: _typed(flows, _type_name(arguments)),
    "ofType": lambda flows, arguments: _typed(flows, _type_name(arguments)),
    "where": _where,
    "extension": _extension,
    "first": _first,
}


# ---- criteria ---------------------------------------------------------------------------------------------------


def _asker(this: Branch, resource_type: str | None) -> Callable[[Expression], tuple[Values, frozenset[str]]]:
    """Return what gives, for a path inside a criterion, its values as a function of one item, and their types."""

    def values_of(tree: Expression) -> tuple[Values, frozenset[str]]:
        flows = _flows(tree, Branch(None, this.type, "", ()), resource_type)
        return _gathered(flows), frozenset(flow.type for flow in flows)

    return values_of


def _gathered(flows: list[Branch]) -> Values:
    def values(item: Any) -> list[Any]:
        found: list[Any] = []
        for flow in flows:
            start = getattr(item, flow.attribute) if flow.attribute else item
            if start is not UNSET:
                found += flow.values(start)
        return found

    return values
