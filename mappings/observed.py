"""OBX-5 by OBX-2: what was observed, as the FHIR type that holds it; a type nobody knows stays text.

HL7 v2.5.1 chapter 7.4.2.5; https://hl7.org/fhir/R4/observation-definitions.html#Observation.value_x_
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from mappings import attachments, coded, names
from mappings.context import Context
from mappings.hl7v2 import Segment
from mappings.mapped import Json
from mappings.quantities import compared, number, numeric_range, structured, unit
from mappings.rules_patient import one
from mappings.table import Draft
from mappings.times import a_time
from mappings.value import Value

ATTACHMENT = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value"
Found: TypeAlias = tuple[str, Any]
Reader: TypeAlias = Callable[[Value, Json, Context], Found | None]


def observation_value(cx: Context, segment: Segment, draft: Draft) -> None:
    """OBX-5: one value, or a component for each repetition; text repeats as lines."""
    kind = one(segment, 2).code(1).upper()
    units = unit(one(segment, 6), cx)
    raws = [raw for raw in _repetitions(segment, kind) if raw]
    marks = segment.delimiters
    found = [read(kind, Value(raw, marks, marks.component), units, cx) for raw in raws]
    said = [each for each in found if each]
    if kind in _LINES and len(said) > 1 and {name for name, _ in said} == {"valueString"}:
        said = [("valueString", "\n".join(text for _, text in said))]
    if len(said) == 1:
        _put(cx, draft, *said[0])
    elif said:
        code = draft.resource.get("code", {"text": "value"})
        draft.set(cx, "component", [{"code": code, name: value} for name, value in said if name != "extension"])


def read(kind: str, value: Value, units: Json, cx: Context) -> Found | None:
    """Return the element and its content for one repetition of OBX-5; None where it says nothing."""
    reader = READERS.get(kind)
    if reader is None:
        cx.warn("not-supported", f"value type {kind!r} is not known; kept as text", f"{cx.segment}-2")
        return _text(value, units, cx)
    return reader(value, units, cx)


def is_document(segment: Segment) -> bool:
    """Tell whether an OBX carries a document."""
    return one(segment, 2).code(1).upper() in ("ED", "RP")


def document(segment: Segment, cx: Context) -> Json | None:
    """The Attachment of an OBX that carries one, titled with what it is."""
    cx.field = 5
    value = one(segment, 5)
    reader = attachments.embedded if one(segment, 2).code(1).upper() == "ED" else attachments.referenced
    found = reader(value, cx, None)
    return found | ({"title": title(segment)} if title(segment) else {}) if found else None


def title(segment: Segment) -> str:
    """What an OBX calls its document."""
    return one(segment, 3).text(2) or one(segment, 3).text(1)


def _repetitions(segment: Segment, kind: str) -> list[str]:
    """Repetitions of OBX-5; a document's data are never cut."""
    raw = segment.field(5) or ""
    return [raw] if kind in ("ED", "RP", "NA", "MA") else raw.split(segment.delimiters.repetition)


def _put(cx: Context, draft: Draft, name: str, value: Any) -> None:
    if name == "extension":
        draft.resource.setdefault("extension", []).append(value)
        draft.lineage[f"extension[{len(draft.resource['extension']) - 1}]"] = cx.here()
    else:
        draft.set(cx, name, value)


def _text(value: Value, units: Json, cx: Context) -> Found | None:
    """A number sent as text with a unit is a quantity all the same: a string has no room for the unit."""
    text = value.whole()
    amount = compared(text) if units and text else None
    if amount:
        return "valueQuantity", amount | units
    if text and units:
        cx.inform(f"unit {units['unit']!r} has no room beside text", f"{cx.segment}-6")
    return ("valueString", text) if text else None


def _number(value: Value, units: Json, cx: Context) -> Found | None:
    text = value.text(1)
    if not text:
        return None
    found = compared(text)
    if found is None:
        cx.warn("value", f"{text!r} is declared a number and is none; kept as text")
        return _text(value, units, cx)
    return "valueQuantity", found | units


def _structured(value: Value, units: Json, cx: Context) -> Found | None:
    found = structured(value, units)
    if found or not value:
        return found
    words = [value.text(n) for n in (1, 2, 3, 4)] + [units.get("unit", "")]
    return "valueString", " ".join(word for word in words if word)


def _coded(value: Value, units: Json, cx: Context) -> Found | None:
    found = coded.codeable(value, cx, None)
    return ("valueCodeableConcept", found) if found else None


def _moment(value: Value, units: Json, cx: Context) -> Found | None:
    text = value.text(1)
    found = cx.clock.date_time(text) if text else None
    if text and not found:
        cx.warn("value", f"{text!r} is no time; kept as text")
        return _text(value, units, cx)
    return ("valueDateTime", found) if found else None


def _time(value: Value, units: Json, cx: Context) -> Found | None:
    text = value.text(1)
    found = a_time(text) if text else None
    if text and not found:
        cx.warn("value", f"{text!r} is no time of day; kept as text")
        return _text(value, units, cx)
    return ("valueTime", found) if found else None


def _between(value: Value, units: Json, cx: Context) -> Found | None:
    found = names.period(value, cx, 1, 2)
    return ("valuePeriod", found) if found else _text(value, units, cx)


def _range(value: Value, units: Json, cx: Context) -> Found | None:
    found = numeric_range(value, units)
    return ("valueRange", found) if found else _text(value, units, cx)


def _amount(value: Value, units: Json, cx: Context) -> Found | None:
    amount = number(value.text(1))
    if amount is None:
        return _text(value, units, cx)
    own = unit(value.sub(2), cx) if len(value.parts) > 1 else {}
    return "valueQuantity", {"value": amount} | (own or units)


def _document(value: Value, units: Json, cx: Context) -> Found | None:
    embedded = len(value.parts) > 4
    found = attachments.embedded(value, cx, None) if embedded else attachments.referenced(value, cx, None)
    return ("extension", {"url": ATTACHMENT, "valueAttachment": found}) if found else None


def _variable(value: Value, units: Json, cx: Context) -> Found | None:
    """VR: what a variable is between, as text."""
    text = "-".join(part for part in (value.text(1), value.text(2)) if part)
    return ("valueString", text) if text else None


def _named(value: Value, units: Json, cx: Context) -> Found | None:
    """Composite types that FHIR's value has no room for: their parts, as words."""
    words = [part.text(n) for i in range(len(value.parts)) for part in (value.sub(i + 1),) for n in (1, 2, 3)]
    text = " ".join(word for word in words if word)
    return ("valueString", text) if text else None


_LINES = frozenset({"ST", "TX", "FT", ""})
READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "": _text,
        "AD": _named,
        "CE": _coded,
        "CF": _coded,
        "CNE": _coded,
        "CQ": _amount,
        "CWE": _coded,
        "CX": _named,
        "DR": _between,
        "DT": _moment,
        "DTM": _moment,
        "ED": _document,
        "EI": _named,
        "FT": _text,
        "ID": _coded,
        "IS": _coded,
        "MO": _text,
        "NA": _text,
        "NM": _number,
        "NR": _range,
        "PN": _named,
        "RP": _document,
        "SI": _number,
        "SN": _structured,
        "ST": _text,
        "TM": _time,
        "TN": _text,
        "TS": _moment,
        "TX": _text,
        "VR": _variable,
        "XAD": _named,
        "XCN": _named,
        "XON": _named,
        "XPN": _named,
        "XTN": _named,
    }
)
