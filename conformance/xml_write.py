"""FHIR JSON to FHIR XML: nothing is added, nothing is lost, numbers keep their digits. http://hl7.org/fhir/R4/xml.html

What is written must have been accepted by `structures.decode`, or be the server's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from conformance.xml_slots import FHIR, Slot, slots

_PROLOG = '<?xml version="1.0" encoding="UTF-8"?>'
# What may stand before a document that the narrative is in JSON, and not inside of another.
_DECLARATION = re.compile(r"\A\ufeff?\s*(?:<\?xml[^>]*\?>)?")
# Tab and line ends are written as references, or a reader would turn them into blanks. What XML cannot say at all,
# and FHIR does not allow but for the two non-characters, becomes the replacement character.
_SPECIAL = re.compile('[&<>"\x00-\x1f\ufffe\uffff]')
_ESCAPES = {ord(c): "\ufffd" for c in [*map(chr, range(0x20)), "\ufffe", "\uffff"]} | {
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord('"'): "&quot;",
    ord("\t"): "&#9;",
    ord("\n"): "&#10;",
    ord("\r"): "&#13;",
}


def to_xml(data: bytes, *, pretty: bool = False) -> bytes:
    """Return a resource in JSON as XML in UTF-8, with the elements in the order of the specification."""
    # Numbers are read as their own text.
    value = json.loads(data.decode("utf-8"), parse_int=str, parse_float=str)
    writer = _Writer(pretty)
    writer.resource(value, 0, f' xmlns="{FHIR}"')
    if pretty:
        writer.out.append("\n")
    return "".join(writer.out).encode("utf-8")


def _text(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    text: str = value
    return text.translate(_ESCAPES) if _SPECIAL.search(text) else text


class _Writer:
    """Gathers the pieces of one document; `depth` is how far a line is indented where it is pretty."""

    def __init__(self, pretty: bool) -> None:
        self.out = [_PROLOG]
        self.pretty = pretty

    def line(self, depth: int) -> str:
        return "\n" + "  " * depth if self.pretty else ""

    def resource(self, value: Mapping[str, Any], depth: int, namespace: str = "") -> None:
        """Write a resource as an element named by its type."""
        name = value["resourceType"]
        self.out.append(f"{self.line(depth)}<{name}{namespace}")
        self.inside(name, value, slots(name), depth)

    def inside(self, name: str, value: Mapping[str, Any], known: Mapping[str, Slot], depth: int) -> None:
        """Write the elements of a group after its opened tag, and close it."""
        # ExampleScenario.instance has an element of this name.
        given = {key.removeprefix("_"): None for key in value if key != "resourceType" or key in known}
        ordered = sorted([known[key] for key in given], key=_order)
        ordered = [slot for slot in ordered if not slot.attribute]
        if not ordered:
            self.out.append("/>")
            return
        self.out.append(">")
        for slot in ordered:
            self.element(slot, value, depth + 1)
        self.out.append(f"{self.line(depth)}</{name}>")

    def element(self, slot: Slot, value: Mapping[str, Any], depth: int) -> None:
        """Write what stands under one name: of a repeating element, each."""
        mine, companion = value.get(slot.name), value.get(f"_{slot.name}")
        if not slot.repeats:
            self.one(slot, mine, companion, depth)
            return
        for item, beside in zip_longest(mine or (), companion or ()):
            self.one(slot, item, beside, depth)

    def one(self, slot: Slot, value: Any, companion: Mapping[str, Any] | None, depth: int) -> None:
        if slot.kind == "group":
            self.group(slot, value, depth)
        elif slot.kind == "resource":
            self.out.append(f"{self.line(depth)}<{slot.name}>")
            self.resource(value, depth + 1)
            self.out.append(f"{self.line(depth)}</{slot.name}>")
        elif slot.kind == "xhtml":
            self.out.append(self.line(depth) + _DECLARATION.sub("", value).strip())
        else:
            self.primitive(slot, value, companion, depth)

    def group(self, slot: Slot, value: Mapping[str, Any], depth: int) -> None:
        known = slots(slot.group)
        self.out.append(f"{self.line(depth)}<{slot.name}{_attributes(value, known)}")
        self.inside(slot.name, value, known, depth)

    def primitive(self, slot: Slot, value: Any, companion: Mapping[str, Any] | None, depth: int) -> None:
        told = "" if value is None else f' value="{_text(value)}"'
        if companion is None:
            self.out.append(f"{self.line(depth)}<{slot.name}{told}/>")
            return
        known = slots(slot.group)
        self.out.append(f"{self.line(depth)}<{slot.name}{_attributes(companion, known)}{told}")
        self.inside(slot.name, companion, known, depth)


def _order(slot: Slot) -> int:
    return slot.order


def _attributes(value: Mapping[str, Any], known: Mapping[str, Slot]) -> str:
    """Return the members of a group that are attributes: ids, and the url of an extension."""
    return "".join(f' {key}="{_text(value[key])}"' for key in ("id", "url") if key in value and known[key].attribute)
