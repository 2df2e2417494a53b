"""FHIRPath Patch on decoded JSON. http://hl7.org/fhir/R4/fhirpatch.html

Paths are those that name elements: members, indexes, `where` with comparisons, `first`, `last`, `ofType` and
`extension`. What a path finds is kept with its place, so that it can be taken out or replaced there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from conformance.fhirpath_grammar import Binary, Call, Expression, Index, Literal, Name, This, Unsupported, parse
from conformance.r4.facts import Element, groups, spelled
from fhir_server.errors import Invalid, Unprocessable
from fhir_server.interactions.json_patch import Patch

Json = Any
_MOST = 1000
_NEEDS = {
    "add": ("path", "name", "value"),
    "insert": ("path", "index", "value"),
    "delete": ("path",),
    "replace": ("path", "value"),
    "move": ("path", "source", "destination"),
}


class Node(msgspec.Struct, frozen=True):
    """A value with its FHIR type and its place: in `owner`, under `key`, at `index` where that is a list."""

    value: Json
    type: str
    owner: dict[str, Json]
    key: str = ""
    index: int | None = None
    element: str = ""


class Value(msgspec.Struct, frozen=True):
    """What is put in: of a data type, or of an unnamed one whose parts make it."""

    json: Json
    type: str


class Operation(msgspec.Struct, frozen=True):
    """One operation with its parts by name."""

    number: int
    kind: str
    path: Expression
    parts: dict[str, Json]


def fhirpath_patch(parameters: Json, resource_type: str) -> Patch:
    """Return what the operations in a Parameters resource do to a resource of this type; raise Invalid for no patch."""
    given = parameters.get("parameter", []) if isinstance(parameters, dict) else None
    if not isinstance(given, list) or len(given) > _MOST or any(one.get("name") != "operation" for one in given):
        raise Invalid(f"a FHIRPath Patch is a Parameters resource with at most {_MOST} parameters named operation")
    operations = [_operation(number, one) for number, one in enumerate(given)]

    def patched(value: Json) -> Json:
        root = Node(value, resource_type, value)
        for one in operations:
            try:
                _OPERATIONS[one.kind](_found(one.path, [root], root), one)
            except ValueError as problem:
                raise Unprocessable(f"operation {one.number} ({one.kind}): {problem}") from problem
        return value

    return patched


# ---- the patch --------------------------------------------------------------------------------------------------


def _operation(number: int, given: Json) -> Operation:
    parts: dict[str, Json] = {}
    for part in given.get("part", []):
        if part["name"] in parts:
            raise Invalid(f"operation {number}: {part['name'][:80]} is given more than once")
        parts[part["name"]] = part if part["name"] == "value" else _simple(part)
    kind = parts.get("type")
    if kind not in _NEEDS:
        raise Invalid(f"operation {number}: type is one of {', '.join(_NEEDS)}")
    for name in _NEEDS[kind]:
        if parts.get(name) is None:
            raise Invalid(f"operation {number}: {kind} needs {name}")
    for name in ("index", "source", "destination"):
        if name in parts and (not isinstance(parts[name], int) or parts[name] < 0):
            raise Invalid(f"operation {number}: {name} is a whole number from 0")
    try:
        return Operation(number, kind, parse(str(parts["path"])), parts)
    except Unsupported as problem:
        raise Invalid(f"operation {number}: the path {str(parts['path'])[:200]} cannot be used: {problem}") from problem


def _simple(part: Json) -> Json:
    return next((value for name, value in part.items() if name.startswith("value")), None)


def _value(part: Json, element: Element | None) -> Value:
    """Return a value part; one made of parts has the elements of `element`, which says which of them repeat."""
    for name, value in part.items():
        if name.startswith("value"):
            return Value(copy.deepcopy(value), name.removeprefix("value"))
    made: dict[str, Json] = {}
    for inner in part.get("part", []):
        described = _described(_type_of(element), inner["name"])
        of = _value(inner, described[1])
        key = _key(inner["name"], described[0], of)
        if described[1].repeats:
            made.setdefault(key, []).append(of.json)
        elif key in made:
            raise ValueError(f"{key} is given more than once")
        else:
            made[key] = of.json
    if not made:
        raise ValueError("the value is empty")
    return Value(made, "")


def _type_of(element: Element | None) -> str:
    if element is None:
        return ""
    return element.content or (element.types[0] if element.types else "")


def _described(kind: str, name: str) -> tuple[str, Element]:
    """Return the FHIR name and the description of an element of a type; raise ValueError where it has none such."""
    elements = groups()[kind].elements if kind in groups() else {}
    for key in (name, f"{name}[x]"):
        if key in elements:
            return key, elements[key]
    raise ValueError(f"{kind or 'this'} has no element {name[:80]!r}")


def _key(name: str, described: str, value: Value) -> str:
    return f"{name}{value.type}" if described.endswith("[x]") else name


# ---- paths ------------------------------------------------------------------------------------------------------


def _found(path: Expression, context: Sequence[Node], root: Node) -> list[Node]:
    """Return what a path finds from `context`; raise ValueError for a path that names no elements."""
    match path:
        case This():
            return list(context)
        case Name(None, name) if name == root.type:
            return [root]
        case Name(target, name):
            start = context if target is None else _found(target, context, root)
            return [node for one in start for node in _members(one, name)]
        case Index(target, number):
            return _found(target, context, root)[number : number + 1]
        case Call(target, function, arguments) if function in _FUNCTIONS:
            return _FUNCTIONS[function](_found(target, context, root), arguments)
    raise ValueError(f"the path {str(path)[:100]} names no element")


def _members(node: Node, name: str) -> list[Node]:
    if not isinstance(node.value, dict):
        return []
    described, element = _described(node.type, name)
    found: list[Node] = []
    for key, kind in spelled(described, element):
        value, of = node.value.get(key), element.content or kind
        if isinstance(value, list):
            found += [Node(item, of, node.value, key, n, name) for n, item in enumerate(value)]
        elif value is not None:
            found.append(Node(value, of, node.value, key, None, name))
    return found


def _where(nodes: list[Node], arguments: tuple[Expression, ...]) -> list[Node]:
    if len(arguments) != 1:
        raise ValueError("where() takes one criterion")
    return [node for node in nodes if _holds(arguments[0], node)]


def _holds(criterion: Expression, node: Node) -> bool:
    match criterion:
        case Binary("and", left, right):
            return _holds(left, node) and _holds(right, node)
        case Binary("or", left, right):
            return _holds(left, node) or _holds(right, node)
        case Binary("=", left, Literal(wanted)):
            found = [one.value for one in _found(left, [node], node)]
            return len(found) == 1 and type(found[0]) is type(wanted) and found[0] == wanted
    raise ValueError("where() takes comparisons such as system = 'phone'")


def _of_type(nodes: list[Node], arguments: tuple[Expression, ...]) -> list[Node]:
    match arguments:
        case (Name(_, name),):
            return [node for node in nodes if node.type == name]
    raise ValueError("ofType() takes a type")


def _extension(nodes: list[Node], arguments: tuple[Expression, ...]) -> list[Node]:
    match arguments:
        case (Literal(str() as url),):
            inner = [found for node in nodes for found in _members(node, "extension")]
            return [node for node in inner if isinstance(node.value, dict) and node.value.get("url") == url]
    raise ValueError("extension() takes one URL")


_FUNCTIONS: dict[str, Callable[[list[Node], tuple[Expression, ...]], list[Node]]] = {
    "where": _where,
    "ofType": _of_type,
    "as": _of_type,
    "extension": _extension,
    "first": lambda nodes, arguments: nodes[:1],
    "last": lambda nodes, arguments: nodes[-1:],
}


# ---- operations -------------------------------------------------------------------------------------------------


def _one(nodes: Sequence[Node]) -> Node:
    if len(nodes) != 1:
        raise ValueError(f"the path finds {len(nodes)} elements, and must find one")
    return nodes[0]


def _add(nodes: Sequence[Node], asked: Operation) -> None:
    node = _one(nodes)
    if not isinstance(node.value, dict):
        raise ValueError("nothing can be added to a primitive")
    name = str(asked.parts["name"])
    described, element = _described(node.type, name)
    value = _value(asked.parts["value"], element)
    key = _key(name, described, value)
    if element.repeats:
        node.value.setdefault(key, []).append(value.json)
        _companion(node.value, key, lambda items: items.append(None))
    elif _members(node, name):
        raise ValueError(f"{name} is there already")
    else:
        node.value[key] = value.json


def _listed(nodes: Sequence[Node]) -> tuple[Node, list[Json]]:
    """Return the list that the path finds all of."""
    if (
        not nodes
        or nodes[0].index is None
        or any(n.owner is not nodes[0].owner or n.key != nodes[0].key for n in nodes)
    ):
        raise ValueError("the path finds no list")
    return nodes[0], nodes[0].owner[nodes[0].key]


def _insert(nodes: Sequence[Node], asked: Operation) -> None:
    node, items = _listed(nodes)
    at = asked.parts["index"]
    if at > len(items):
        raise ValueError(f"there is no position {at} in a list of {len(items)}")
    items.insert(at, _value(asked.parts["value"], Element(content=node.type)).json)
    _companion(node.owner, node.key, lambda others: others.insert(at, None))


def _delete(nodes: Sequence[Node], asked: Operation) -> None:
    if nodes:
        _take(_one(nodes))


def _take(node: Node) -> None:
    if not node.key:
        raise ValueError("the resource cannot be taken away: delete it")
    if node.index is None:
        del node.owner[node.key]
        node.owner.pop(f"_{node.key}", None)
        return
    at = node.index
    del node.owner[node.key][at]
    _companion(node.owner, node.key, lambda others: others.pop(at))
    if not node.owner[node.key]:
        del node.owner[node.key]


def _replace(nodes: Sequence[Node], asked: Operation) -> None:
    node = _one(nodes)
    if not node.key:
        raise ValueError("the resource cannot be replaced: update it")
    value = _value(asked.parts["value"], Element(content=node.type))
    if node.index is not None:
        node.owner[node.key][node.index] = value.json
        at = node.index
        _companion(node.owner, node.key, lambda others: others.__setitem__(at, None))
        return
    _take(node)
    key = f"{node.element}{value.type}" if node.key != node.element else node.key
    node.owner[key] = value.json


def _move(nodes: Sequence[Node], asked: Operation) -> None:
    node, items = _listed(nodes)
    source, target = asked.parts["source"], asked.parts["destination"]
    if max(source, target) >= len(items):
        raise ValueError(f"there is no position {max(source, target)} in a list of {len(items)}")
    items.insert(target, items.pop(source))
    _companion(node.owner, node.key, lambda others: others.insert(target, others.pop(source)))


def _companion(owner: dict[str, Json], key: str, change: Callable[[list[Json]], object]) -> None:
    """Do to the extensions of primitives in a list what was done to the primitives."""
    others = owner.get(f"_{key}")
    if isinstance(others, list):
        change(others)
        if not any(others):
            del owner[f"_{key}"]


_OPERATIONS: dict[str, Callable[[Sequence[Node], Operation], None]] = {
    "add": _add,
    "insert": _insert,
    "delete": _delete,
    "replace": _replace,
    "move": _move,
}
