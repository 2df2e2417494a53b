"""FHIR XML to FHIR JSON: every element at its place or a refusal that names path and line. http://hl7.org/fhir/R4/xml.html

The reader is expat with everything shut that XML can do beyond elements: a document type is refused before any entity
of it could be declared, so nothing grows and nothing is fetched. The narrative is cut out of the bytes as it stands.
What the values are is not checked here: the JSON goes to `structures.decode` as any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any
from xml.parsers import expat

import msgspec

from conformance.issue import Issue, error
from conformance.primitives import MAX_DEPTH
from conformance.r4.types import TYPE_CODES
from conformance.structures import Refused
from conformance.values import shown
from conformance.xml_divs import Names, Scope, cut
from conformance.xml_slots import FHIR, Slot, named

MAX_ISSUES = 200
# A contained resource takes two elements where JSON nests once.
_DEEPEST = 2 * MAX_DEPTH + 8
# Each narrative is searched for each of them.
_MOST_PREFIXES = 64
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance "
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")
# FHIR's integers may have a plus sign, which JSON's may not.
_INTEGER = re.compile(r"\+?(-?(?:0|[1-9][0-9]*))\Z")
_BLANKS = " \t\r\n"
_encode = msgspec.json.Encoder().encode


def to_json(data: bytes) -> bytes:
    """Return a resource in XML as JSON in UTF-8, numbers with their digits. Raises Refused with every problem."""
    # A byte order mark or zeros would make the parser take another encoding.
    if b"\0" in data or not _is_utf8(data):
        raise Refused([error("structure", "The text is not UTF-8.")])
    reader = _Reader(data)
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as fault:
        reader.issues.append(error("structure", f"The text is not well-formed XML: {fault}."))
    except _Enough:
        pass
    if reader.issues:
        raise Refused(reader.issues)
    return _encode(reader.root.values["resource"])


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class _Enough(Exception):
    """The problem that was found last is the last that is told."""


class _Frame:
    """An element that is open: `slot` is its place in the frame around it, `known` what may stand in it.

    `values` are the JSON members so far; `name` is its part of a path. Without `known` it takes a resource or nothing.
    """

    __slots__ = ("arrays", "inside", "known", "last", "name", "slot", "start", "value", "values")

    def __init__(self, name: str, slot: Slot | None, known: Mapping[str, Slot], start: int = 0) -> None:
        self.name, self.slot, self.known, self.start = name, slot, known, start
        self.values: dict[str, Any] = {}
        self.arrays: list[str] = []
        self.value: Any = None
        self.last: Slot | None = None
        self.inside = 0


class _Reader:
    """One pass over one document, which gathers issues; what is refused is passed over with all that is in it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.issues: list[Issue] = []
        self.root = _Frame("", Slot("resource", "", 0, "resource", "Resource", "", False, False), {})
        self.stack = [self.root]
        self.skipped = 0
        self.scope = Scope()
        self.parser = parser = expat.ParserCreate("utf-8", " ")
        parser.buffer_text = True
        parser.XmlDeclHandler = self.declared
        parser.StartDoctypeDeclHandler = self.doctype
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.text
        parser.StartNamespaceDeclHandler = self.scope.opened
        parser.EndNamespaceDeclHandler = self.scope.closed

    # ---- problems -----------------------------------------------------------------------------------------------

    def tell(self, code: str, problem: str, name: str = "") -> None:
        """Tell a problem of the innermost open element, or of `name` in it."""
        path = ".".join(part for part in (*(frame.name for frame in self.stack), name) if part)
        line = self.parser.CurrentLineNumber
        self.issues.append(error(code, f"{problem} (line {line}).", *([path] if path else [])))
        if len(self.issues) == MAX_ISSUES:
            raise _Enough

    def stop(self, code: str, problem: str) -> None:
        self.tell(code, problem)
        raise _Enough

    def refuse(self, problem: str, name: str = "") -> None:
        """Tell a problem of the element that has just begun, and pass over it."""
        self.tell("structure", problem, name)
        self.skipped = 1

    # ---- events -------------------------------------------------------------------------------------------------

    def declared(self, version: str, encoding: str | None, _standalone: int) -> None:
        if version != "1.0" or (encoding or "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
            self.stop("structure", f"The document is XML {version[:20]} in {str(encoding)[:40]}, not XML 1.0 in UTF-8")

    def doctype(self, *_: object) -> None:
        self.stop("structure", "The document has a document type, which FHIR's XML does not")

    def text(self, data: str) -> None:
        frame = self.stack[-1]
        if not (self.skipped or (frame.slot and frame.slot.kind == "xhtml")) and data.strip(_BLANKS):
            self.tell("structure", f"The text {shown(data.strip())} stands between the elements")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        own = self.scope.begun()
        frame = self.stack[-1]
        if own and self.scope.size > _MOST_PREFIXES:
            self.stop("too-costly", f"The document declares more than {_MOST_PREFIXES} prefixes of namespaces")
        if self.skipped:
            self.skipped += 1
        elif frame.slot and frame.slot.kind == "xhtml":
            frame.inside += 1
        elif len(self.stack) > _DEEPEST:
            self.stop("too-long", f"The elements are nested deeper than {MAX_DEPTH} levels")
        elif (slot := frame.known.get(name)) and not slot.attribute:
            self.element(frame, slot, attributes, own)
        elif frame.known:
            self.unknown(frame, name)
        else:
            self.resource(frame, name, attributes)

    def end(self, _name: str) -> None:
        frame = self.stack[-1]
        if self.skipped:
            self.skipped -= 1
        elif frame.inside:
            frame.inside -= 1
        else:
            self.finish(self.stack.pop())

    # ---- elements begin -----------------------------------------------------------------------------------------

    def resource(self, frame: _Frame, name: str, attributes: dict[str, str]) -> None:
        """Begin the one resource that a frame takes."""
        space, _, local = name.rpartition(" ")
        if frame.slot is None or frame.slot.kind != "resource":
            self.refuse(f"The element {shown(local)} stands in an element that has only a value")
        elif space != FHIR:
            self.refuse(f"The element {shown(local)} is not of the namespace {FHIR}")
        elif local not in TYPE_CODES:
            self.refuse(f"{shown(local)} is not a resource type of FHIR R4")
        elif frame.values:
            self.refuse("Here stands one resource, and another has come before")
        else:
            made = _Frame("" if len(self.stack) > 1 else local, None, named(local))
            made.values["resourceType"] = local
            self.stack.append(made)
            if attributes:
                self.attributes(made, attributes)

    def element(self, frame: _Frame, slot: Slot, attributes: dict[str, str], own: Names) -> None:
        """Begin an element of a resource, data type or backbone element."""
        last = frame.last
        if last and slot.order <= last.order and (problem := _misplaced(last, slot)):
            self.refuse(problem, slot.element)
            return
        frame.last = slot
        name = slot.element
        if slot.repeats:
            name += f"[{len(frame.values.get(slot.name, ()))}]"
        made = _Frame(name, slot, named(slot.group) if slot.kind != "resource" else {}, self.parser.CurrentByteIndex)
        self.stack.append(made)
        if slot.kind == "xhtml":
            made.value = own
        elif attributes:
            self.attributes(made, attributes)

    def unknown(self, frame: _Frame, name: str) -> None:
        """Refuse an element that may not stand in a group."""
        space, _, local = name.rpartition(" ")
        names = {slot.name: key.rpartition(" ")[0] for key, slot in frame.known.items() if not slot.attribute}
        if names.get(local, FHIR) != space:
            self.refuse(f"The element {shown(local)} is not of the namespace {names.get(local, FHIR)}")
            return
        if local in frame.known:
            self.refuse(f"{local} is an attribute here, not an element", local)
            return
        close = get_close_matches(local, names, 1) if len(local) <= 64 else []
        hint = f"; did you mean {close[0]!r}?" if close else ""
        where = frame.name or frame.values.get("resourceType", "")
        self.refuse(f"{shown(local)} is not an element of {where}{hint}", local if len(local) <= 64 else "")

    def attributes(self, frame: _Frame, attributes: dict[str, str]) -> None:
        primitive = frame.slot is not None and frame.slot.kind not in ("group", "resource")
        for name, value in attributes.items():
            if name.startswith(_INSTANCE):
                continue
            if not value:
                self.tell("structure", f"The attribute {shown(name)} is empty")
            elif primitive and name == "value" and frame.slot:
                frame.value = self.primitive(frame.slot, value)
            elif (slot := frame.known.get(name)) and slot.attribute:
                frame.values[name] = value
            else:
                self.tell("structure", f"The attribute {shown(name)} may not stand here")

    def primitive(self, slot: Slot, text: str) -> Any:
        """Return a value as JSON has it."""
        if slot.kind == "text":
            return text
        if slot.kind == "boolean" and text in ("true", "false"):
            return text == "true"
        number = _DECIMAL.match(text) if slot.kind == "decimal" else _INTEGER.match(text)
        if number is None or slot.kind == "boolean":
            self.tell("value", f"{shown(text)} is not a valid {slot.fhir_type}")
            return None
        return msgspec.Raw((number[0] if slot.kind == "decimal" else number[1]).encode())

    # ---- elements end -------------------------------------------------------------------------------------------

    def finish(self, frame: _Frame) -> None:
        """Put what an element held into the frame around it."""
        for name in frame.arrays:
            if not any(item is not None for item in frame.values[name]):
                del frame.values[name]
        around, slot = self.stack[-1], frame.slot
        if slot is None:
            around.values["resource"] = frame.values
        elif slot.kind == "xhtml":
            around.values[slot.name] = cut(
                self.data, frame.start, self.parser.CurrentByteIndex, frame.value, self.scope
            )
        elif slot.kind in ("group", "resource"):
            self.put(around, slot, frame)
        else:
            self.put_primitive(around, slot, frame)

    def put(self, around: _Frame, slot: Slot, frame: _Frame) -> None:
        value = frame.values
        if slot.kind == "resource":
            value = value.get("resource", {})
        if not value:
            self.tell("structure", f"The element {slot.name} is empty", frame.name)
        if slot.repeats:
            around.values.setdefault(slot.name, []).append(value)
        else:
            around.values[slot.name] = value

    def put_primitive(self, around: _Frame, slot: Slot, frame: _Frame) -> None:
        value, companion = frame.value, frame.values or None
        if value is None and companion is None and not self.issues:
            self.tell("structure", f"The element {slot.name} has neither a value nor an extension", frame.name)
        if not slot.repeats:
            around.values |= {slot.name: value} if value is not None else {}
            around.values |= {f"_{slot.name}": companion} if companion else {}
            return
        names = (slot.name, f"_{slot.name}")
        if slot.name not in around.values:
            around.values |= {name: [] for name in names}
            around.arrays += names
        for name, item in zip(names, (value, companion), strict=True):
            around.values[name].append(item)


def _misplaced(last: Slot | None, slot: Slot) -> str | None:
    """Return why an element may not follow the one before it, or None."""
    if last is None or slot.order > last.order or (slot is last and slot.repeats):
        return None
    if slot is last:
        return f"The element {slot.name} is given more than once"
    if slot.order == last.order:
        return f"The choice {slot.element}[x] is given more than once: {last.name}, {slot.name}"
    return f"The element {slot.name} must stand before {last.name}"
