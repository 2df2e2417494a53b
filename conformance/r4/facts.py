"""The distilled facts of FHIR R4, read when first asked for and then shared. http://hl7.org/fhir/R4/

The JSON files beside this module come from the specification's package hl7.fhir.r4.examples 4.0.1 (CC0) by
`tools/distil_r4.py`; README.md says what stands in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


class Component(msgspec.Struct, frozen=True):
    """One part of a composite search parameter: the canonical URL of the part and its path inside the composite."""

    definition: str
    expression: str


class SearchParameter(msgspec.Struct, frozen=True):
    """A search parameter as the specification defines it; `expression` is FHIRPath, none for `_text` and the like."""

    url: str
    code: str
    base: tuple[str, ...]
    type: str
    expression: str | None = None
    target: tuple[str, ...] = ()
    component: tuple[Component, ...] = ()


class Element(msgspec.Struct, frozen=True):
    """One element: its types (several for a choice), cardinality, and where its children are described.

    `summary` says that it is part of a summary, `modifier` that it changes what the rest means.
    """

    types: tuple[str, ...] = ()
    min: int = 0
    max: str = "1"
    content: str | None = None
    required: str | None = None
    targets: tuple[str, ...] = ()
    attribute: bool = False
    summary: bool = False
    modifier: bool = False

    @property
    def repeats(self) -> bool:
        """Whether the element is an array in JSON."""
        return self.max != "1"


class Group(msgspec.Struct, frozen=True):
    """The elements of a resource, data type or backbone element, in the specification's order.

    A choice stands under its FHIR name, `value[x]`. `kind` is `resource`, `complex-type` or `backbone`.
    """

    kind: str
    elements: dict[str, Element]
    base: str | None = None
    abstract: bool = False


class Narrative(msgspec.Struct, frozen=True):
    """What invariant txt-1 allows in the XHTML of a narrative."""

    elements: frozenset[str]
    attributes: frozenset[str]


def spelled(name: str, element: Element) -> list[tuple[str, str]]:
    """Return each JSON name of an element with its FHIR type ("" for a content reference); a choice has several."""
    if name.endswith("[x]"):
        return [(name.removesuffix("[x]") + t[:1].upper() + t[1:], t) for t in element.types]
    return [(name, element.types[0] if element.types else "")]


def is_primitive(fhir_type: str) -> bool:
    """Whether values of a FHIR type are plain JSON values."""
    return fhir_type[:1].islower()


def has_companion(name: str, fhir_type: str, element: Element) -> bool:
    """Whether `_name` may stand beside it: not for ids, XML attributes and XHTML, which take no extensions."""
    return is_primitive(fhir_type) and not element.attribute and name != "id" and fhir_type != "xhtml"


def _read(name: str, kind: type[T]) -> T:
    return msgspec.json.decode((Path(__file__).parent / name).read_bytes(), type=kind)


@cache
def search_parameters() -> tuple[SearchParameter, ...]:
    """Return every search parameter of the specification, ordered by URL."""
    return _read("search_params.json", tuple[SearchParameter, ...])


@cache
def compartments() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Return, by compartment and member type, the search parameter codes that make a resource a member."""
    return _read("compartments.json", dict[str, dict[str, tuple[str, ...]]])


@cache
def groups() -> Mapping[str, Group]:
    """Return the elements of each type and backbone element, by type name or path such as `Patient.contact`."""
    return _read("elements.json", dict[str, Group])


@cache
def value_sets() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Return the codes by system of each required value set that can be listed, by canonical URL."""
    return _read("value_sets.json", dict[str, dict[str, tuple[str, ...]]])


@cache
def narrative() -> Narrative:
    """Return the elements and attributes that a narrative may hold."""
    return _read("narrative.json", Narrative)
