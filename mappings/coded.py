"""Coded data types to FHIR: CWE, CE, CNE, CF, IS, ID → CodeableConcept, Coding, code, boolean.

HL7 v2.5.1 chapter 2.A.13 (CWE); https://hl7.org/fhir/R4/datatypes.html#CodeableConcept
"""

from __future__ import annotations

from typing import Any

from mappings.context import Codes, Context
from mappings.mapped import Json
from mappings.value import Value

# code, display, system, version, OID of the system
_TRIPLETS = ((1, 2, 3, 7, 14), (4, 5, 6, 8, 17), (10, 11, 12, 13, 20))
_UNKNOWN = object()


def codeable(value: Value, cx: Context, codes: Codes | None) -> Json | None:
    """CWE → CodeableConcept: the mapped code first, then what was sent."""
    found = [_coding(value, cx, places) for places in _TRIPLETS if len(value.parts) >= places[0]]
    codings = [coding for coding in found if coding]
    if codes and value.code(1):
        codings = _with_mapped(value, cx, codes, codings)
    text = value.text(9) or ("" if codings else value.text(2) or value.text(5))
    concept: Json = {"coding": codings} if codings else {}
    if text:
        concept["text"] = text
    return concept or None


def coding(value: Value, cx: Context, codes: Codes | None) -> Json | None:
    """CWE → Coding: the mapped code, else the first that was sent."""
    concept = codeable(value, cx, codes)
    if concept is None:
        return None
    first: Json = concept["coding"][0] if "coding" in concept else {"display": concept["text"]}
    return first


def code(value: Value, cx: Context, codes: Codes | None) -> str | None:
    """CWE, ID, IS → code: through the concept map where there is one; an unknown code is noted and left out."""
    text = value.code(1) or value.code(4)
    if not codes or not text:
        return text or None
    found = lookup(codes, text)
    if found is _UNKNOWN:
        cx.warn("code-invalid", f"code {text!r} is not in table {codes.table} as mapped by {codes.name}")
        return None
    return found[0] if found else None


def truth(value: Value, cx: Context, codes: Codes | None) -> bool | None:
    """ID of table 0136 → boolean."""
    text = value.code(1).upper()
    if text not in ("Y", "N", "YES", "NO", "1", "0", "T", "F"):
        if text:
            cx.warn("code-invalid", f"{text!r} is neither Y nor N")
        return None
    return text in ("Y", "YES", "1", "T")


def concept_of_text(value: Value, cx: Context, codes: Codes | None) -> Json | None:
    """ST → CodeableConcept with text alone."""
    text = value.whole()
    return {"text": text} if text else None


def label(value: Value, cx: Context, codes: Codes | None) -> str | None:
    """CWE, XON, … → string: what people would read."""
    return value.text(9) or value.text(2) or value.text(1) or None


def lookup(codes: Codes, text: str) -> Any:
    """Return (code, display, system); None for a code known to have no equivalent; a marker for an unknown one."""
    found = codes.codes.get(text, _UNKNOWN)
    return codes.codes.get(text.upper(), _UNKNOWN) if found is _UNKNOWN else found


def is_unknown(found: Any) -> bool:
    """Tell whether `lookup` did not know the code at all."""
    return found is _UNKNOWN


def _coding(value: Value, cx: Context, places: tuple[int, int, int, int, int]) -> Json | None:
    """One triplet; None where it has no code."""
    text = value.code(places[0])
    if not text:
        return None
    name = value.text(places[2]) or value.text(places[4])
    found: Json = {"system": cx.systems.coding(name)}
    version, display = value.text(places[3]), value.text(places[1])
    if version:
        found["version"] = version
    found["code"] = text
    if display:
        found["display"] = display
    return found


def _with_mapped(value: Value, cx: Context, codes: Codes, sent: list[Json]) -> list[Json]:
    """Put the concept map's coding first; an unknown code of a v2 table is kept under the sender's own table."""
    text, named = value.code(1), value.text(3)
    found = lookup(codes, text)
    if named and cx.systems.coding(named) not in (_table(cx, codes, known=True), cx.systems.own("code", named)):
        return sent  # a code of another, known system: nothing to look up
    if found is _UNKNOWN or found is None:
        if not named:
            sent[0]["system"] = _table(cx, codes, known=found is None)
        if found is _UNKNOWN and codes.codes:
            cx.inform(f"code {text!r} is not in table {codes.table} as mapped by {codes.name}", code="code-invalid")
        return sent
    mapped = {"system": found[2], "code": found[0], "display": found[1]}
    same = {(mapped["system"], mapped["code"]), (_table(cx, codes, known=True), text)}
    others = [c for c in sent if (c["system"], c["code"]) not in same and (c is not sent[0] or named)]
    return [mapped, *others]


def _table(cx: Context, codes: Codes, *, known: bool) -> str:
    """HL7's table for a code HL7 defines, the sender's own for one it does not."""
    if known and codes.table:
        return f"http://terminology.hl7.org/CodeSystem/v2-{codes.table}"
    return cx.systems.own("table", codes.table or codes.name)
