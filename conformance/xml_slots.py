"""What stands where in FHIR's XML: for each type its elements in order, and the form each has. http://hl7.org/fhir/R4/xml.html"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal, NamedTuple

from conformance.r4.facts import Element, groups, has_companion, is_primitive, spelled

FHIR = "http://hl7.org/fhir"
XHTML = "http://www.w3.org/1999/xhtml"
Kind = Literal["text", "decimal", "integer", "boolean", "group", "resource", "xhtml"]
_KINDS: Mapping[str, Kind] = {
    "boolean": "boolean",
    "decimal": "decimal",
    "integer": "integer",
    "positiveInt": "integer",
    "unsignedInt": "integer",
    "xhtml": "xhtml",
    "Resource": "resource",
}


class Slot(NamedTuple):
    """The place of one element in its group; both names are those of XML and JSON alike.

    `order` counts from 0, and is one for all forms of a choice; `element` is the name in a FHIRPath. `group` names the
    slots of what is inside: of a primitive value, its id and extensions, or "" where it can have none.
    """

    name: str
    element: str
    order: int
    kind: Kind
    fhir_type: str
    group: str
    repeats: bool
    attribute: bool


@cache
def slots(group: str) -> Mapping[str, Slot]:
    """Return the slots of a resource, data type or backbone element, by name, in the order of the specification."""
    found: dict[str, Slot] = {}
    for order, (name, element) in enumerate(groups()[group].elements.items()):
        for spelling, fhir_type in spelled(name, element):
            found[spelling] = Slot(
                name=spelling,
                element=name.removesuffix("[x]"),
                order=order,
                kind=_kind(fhir_type),
                fhir_type=fhir_type,
                group=_inside(name, fhir_type, element),
                repeats=element.repeats,
                attribute=element.attribute,
            )
    return found


@cache
def named(group: str) -> Mapping[str, Slot]:
    """Return the slots of a group by the name that a parser gives them: namespace and name; attributes by name alone.

    Of a group without elements, "", there are none.
    """
    if not group:
        return {}
    return {slot.name if slot.attribute else f"{_space(slot)} {slot.name}": slot for slot in slots(group).values()}


def _space(slot: Slot) -> str:
    return XHTML if slot.kind == "xhtml" else FHIR


def _kind(fhir_type: str) -> Kind:
    return _KINDS.get(fhir_type) or ("text" if is_primitive(fhir_type) else "group")


def _inside(name: str, fhir_type: str, element: Element) -> str:
    if is_primitive(fhir_type):
        return "Element" if has_companion(name, fhir_type, element) else ""
    return element.content or fhir_type
