"""The slow walk: every problem of a resource that was refused, each with its place. http://hl7.org/fhir/R4/json.html

A place is a FHIRPath expression such as `Patient.contact[0].gender`, as OperationOutcome.issue.expression wants it.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, NamedTuple

from conformance.issue import Issue, error
from conformance.primitives import MAX_DEPTH
from conformance.r4.facts import Element, groups, has_companion, is_primitive, spelled, value_sets
from conformance.r4.types import TYPE_CODES
from conformance.source import Object, Unreadable, read
from conformance.values import fault, json_kind, shown

MAX_ISSUES = 200


class Place(NamedTuple):
    """What a JSON name of a group stands for; `companion` when it is the underscored one."""

    element_name: str
    fhir_type: str
    element: Element
    companion: bool


def explain(resource_type: str, data: bytes) -> list[Issue]:
    """Return every problem of the bytes as a resource of this type, in the order of its elements.

    The walk ends after MAX_ISSUES; a last issue then says that there are more.
    """
    walk = _Walk()
    try:
        walk.resource(read(data), resource_type, resource_type, 1)
    except Unreadable as unreadable:
        return [unreadable.issue]
    except RecursionError:
        walk.issues.append(error("too-long", f"The resource is nested deeper than {MAX_DEPTH} levels.", resource_type))
    except _Enough:
        walk.issues.append(Issue("information", "informational", "There are more problems, which are not told."))
    return walk.issues


def syntax(data: bytes) -> list[Issue]:
    """Return why the bytes are not a JSON object that names its resource type."""
    try:
        value = read(data)
    except Unreadable as unreadable:
        return [unreadable.issue]
    if not isinstance(value, Object):
        return [error("structure", f"{json_kind(value)} stands where a resource, a JSON object, is expected.")]
    named = dict(value).get("resourceType")
    if not isinstance(named, str):
        return [error("required", "The member resourceType, a string, is missing.", "resourceType")]
    return [error("structure", "The text is not JSON that can be read.")]


@cache
def places(group_name: str) -> Mapping[str, Place]:
    """Return what each JSON name in a group stands for."""
    found: dict[str, Place] = {}
    for name, element in groups()[group_name].elements.items():
        for json_name, fhir_type in spelled(name, element):
            found[json_name] = Place(name, fhir_type, element, False)
            if has_companion(name, fhir_type, element):
                found[f"_{json_name}"] = Place(name, fhir_type, element, True)
    return found


class _Enough(Exception):
    """As many problems are found as are told."""


class _Walk:
    """One walk over one resource; gathers issues."""

    def __init__(self) -> None:
        self.issues: list[Issue] = []

    def add(self, code: str, diagnostics: str, path: str) -> None:
        if len(self.issues) == MAX_ISSUES:
            raise _Enough
        self.issues.append(error(code, diagnostics, path))

    def resource(self, value: object, path: str, expected: str | None, depth: int) -> None:
        """Walk a resource; `expected` is its type where only one fits."""
        if not isinstance(value, Object):
            self.add("structure", f"{json_kind(value)} stands where a resource, a JSON object, is expected.", path)
            return
        named = [v for k, v in value if k == "resourceType"]
        if not named:
            self.add("required", "The member resourceType is missing.", path)
        elif not isinstance(named[0], str) or named[0] not in TYPE_CODES:
            given = shown(named[0]) if isinstance(named[0], str) else json_kind(named[0])
            self.add("structure", f"{given} is not a resource type of FHIR R4.", path)
        elif expected and named[0] != expected:
            self.add("structure", f"The resource is of type {named[0]}, not {expected}.", path)
        else:
            self.group(value, named[0], path, depth)

    def group(self, value: Object, group_name: str, path: str, depth: int) -> None:
        """Walk the members of a resource, data type or backbone element."""
        if depth > MAX_DEPTH:
            self.add("too-long", f"The element is nested deeper than {MAX_DEPTH} levels.", path)
            return
        members = self.members(value, group_name, path)
        known = places(group_name)
        for key, place in known.items():
            if key in members:
                self.place(members, key, place, path, depth)
        self.cardinality(members, group_name, path)

    def members(self, value: Object, group_name: str, path: str) -> dict[str, Any]:
        """Return the members by key, having told what is empty, doubled or unknown."""
        if not value:
            self.add("structure", "The object is empty: it needs at least one element.", path)
        found: dict[str, Any] = {}
        known = places(group_name)
        is_resource = groups()[group_name].kind == "resource"
        for key, content in value:
            if key in found:
                self.add("structure", f"The key {shown(key)} is given more than once.", path)
            elif key not in known and not (is_resource and key == "resourceType"):
                self.unknown(key, group_name, path)
            found.setdefault(key, content)
        return found

    def unknown(self, key: str, group_name: str, path: str) -> None:
        close = get_close_matches(key, places(group_name), 1) if len(key) <= 64 else []
        hint = f" Did you mean {close[0]!r}?" if close else ""
        where = f"{path}.{key}" if key.isidentifier() and len(key) <= 64 else path
        self.add("structure", f"{shown(key)} is not an element of {group_name}.{hint}", where)

    def cardinality(self, members: Mapping[str, object], group_name: str, path: str) -> None:
        """Tell the elements that are missing, and the choices given in two types."""
        given: dict[str, set[str]] = {}
        for key, place in places(group_name).items():
            if key in members:
                given.setdefault(place.element_name, set()).add(key.removeprefix("_"))
        for name, element in groups()[group_name].elements.items():
            here = f"{path}.{name.removesuffix('[x]')}"
            if element.min and name not in given:
                self.add("required", f"The element {name} is required.", here)
            if len(given.get(name, ())) > 1:
                listed = ", ".join(sorted(given[name]))
                self.add("structure", f"The choice {name} is given more than once: {listed}.", here)

    def place(self, members: Mapping[str, Any], key: str, place: Place, path: str, depth: int) -> None:
        """Walk what stands under one key; an array comes with its companion array."""
        value, name, element = members[key], place.element_name.removesuffix("[x]"), place.element
        here = f"{path}.{name}"
        if not element.repeats:
            self.value(value, place, here, depth)
        elif isinstance(value, Object) or not isinstance(value, list):
            self.add("structure", f"{json_kind(value)} stands where an array is expected.", here)
        elif not value:
            self.add("structure", "The array is empty: leave the element out instead.", here)
        else:
            other = members.get(key[1:] if place.companion else f"_{key}")
            self.array(value, other if isinstance(other, list) else None, place, here, depth)

    def array(self, values: list[Any], other: list[Any] | None, place: Place, path: str, depth: int) -> None:
        """Walk an array; null may stand where the other array of the pair holds something."""
        if place.companion and other is not None and len(other) != len(values):
            message = f"The companion array has {len(values)} places, the array itself {len(other)}."
            self.add("structure", message, path)
        for number, value in enumerate(values):
            here = f"{path}[{number}]"
            if value is not None or not is_primitive(place.fhir_type):
                self.value(value, place, here, depth)
            elif other is None or number >= len(other) or (other[number] is None and not place.companion):
                self.add("structure", "null stands where neither a value nor an extension is given.", here)

    def value(self, value: Any, place: Place, path: str, depth: int) -> None:
        """Walk one value: a primitive, a companion, a structure or a resource."""
        if isinstance(value, list) and not isinstance(value, Object):
            self.add("structure", "An array stands where a single value is expected.", path)
        elif is_primitive(place.fhir_type) and not place.companion:
            self.primitive(value, place, path)
        elif place.fhir_type == "Resource":
            self.resource(value, path, None, depth + 1)
        elif not isinstance(value, Object):
            self.add("structure", f"{json_kind(value)} stands where a JSON object is expected.", path)
        else:
            name = "Element" if place.companion else place.element.content or place.fhir_type
            self.group(value, name, path, depth + 1)
            self.bound_concept(value, place, path)

    def primitive(self, value: object, place: Place, path: str) -> None:
        problem = fault(place.fhir_type, value)
        if problem:
            self.add("value", problem, path)
        elif place.fhir_type == "code" and place.element.required in value_sets():
            codes = [c for listed in value_sets()[place.element.required or ""].values() for c in listed]
            if value not in codes:
                self.add("code-invalid", f"{shown(str(value))} is not one of {_listed(codes)}.", path)

    def bound_concept(self, value: Object, place: Place, path: str) -> None:
        """Tell a CodeableConcept that has no coding of its required value set."""
        systems = value_sets().get(place.element.required or "")
        if systems is None or place.companion or place.fhir_type != "CodeableConcept":
            return
        codings = dict(value).get("coding")
        found = [dict(c) for c in codings if isinstance(c, Object)] if isinstance(codings, list) else []
        if not any(c.get("code") in systems.get(_text(c.get("system")), ()) for c in found):
            listed = _listed([f"{system}|{code}" for system, codes in systems.items() for code in codes])
            self.add("code-invalid", f"No coding is one of {listed}.", path)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _listed(codes: list[str]) -> str:
    shown_codes = ", ".join(codes[:20])
    return shown_codes if len(codes) <= 20 else f"{shown_codes} and {len(codes) - 20} more"
