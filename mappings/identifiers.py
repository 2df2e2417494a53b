"""Identifiers: CX, EI, EIP, DLN and plain text → Identifier, each with a system.

HL7 v2.5.1 chapter 2.A.14 (CX), 2.A.28 (EI); https://hl7.org/fhir/R4/datatypes.html#Identifier
"""

from __future__ import annotations

from mappings.coded import is_unknown, lookup
from mappings.context import Codes, Context
from mappings.mapped import Json
from mappings.names import period
from mappings.value import Value

V2_0203 = "http://terminology.hl7.org/CodeSystem/v2-0203"
_CHECK_DIGIT = "http://hl7.org/fhir/StructureDefinition/identifier-checkDigit"
_CHECK_SCHEME = "http://hl7.org/fhir/StructureDefinition/namingsystem-checkDigit"
# what an identifier of this type is without an authority, wherever it comes from
_NATIONAL = {"SS": "http://hl7.org/fhir/sid/us-ssn", "NPI": "http://hl7.org/fhir/sid/us-npi"}


def cx(value: Value, context: Context, codes: Codes | None) -> Json | None:
    """CX → Identifier; None where it has no value."""
    return _extended(value, context, "identifier")


def visit(value: Value, context: Context, codes: Codes | None) -> Json | None:
    """CX → Identifier of a visit: without an authority its system is the sender's visits, whatever its type says."""
    return _extended(value, context, "visit")


def _extended(value: Value, context: Context, ours: str) -> Json | None:
    text = value.text(1)
    if not text:
        if value:
            context.warn("incomplete", "an identifier without a value")
        return None
    kind = value.code(5)
    found: Json = {"type": {"coding": [kind_of(kind, context)]}} if kind else {}
    found |= authority_at(value, 4, kind if ours == "identifier" else "", context, ours)
    found["value"] = text
    check = [(value.text(2), _CHECK_DIGIT), (value.text(3), _CHECK_SCHEME)] if len(value.parts) > 1 else []
    extensions = [{"url": url, "valueString": said} for said, url in check if said]
    when = period(value, context, 7, 8) if len(value.parts) > 6 else None
    if when:
        found["period"] = when
    return {"extension": extensions} | found if extensions else found


def ei(value: Value, context: Context, codes: Codes | None) -> Json | None:
    """EI → Identifier: the authority's three parts are components of their own."""
    text = value.text(1)
    if not text:
        return None
    return {"system": entity_system(value, context, "entity"), "value": text}


def group(value: Value, context: Context, codes: Codes | None) -> Json | None:
    """EI → Identifier of a group of orders."""
    text = value.text(1)
    return {"system": entity_system(value, context, "group"), "value": text} if text else None


def entity_system(value: Value, context: Context, kind: str) -> str:
    """The system of an EI; the sender's own of this kind where it names no authority."""
    found = context.systems.authority(value.text(2), value.text(3), value.text(4))
    return found or context.systems.own(kind)


def placer_of_pair(value: Value, context: Context, codes: Codes | None) -> Json | None:
    """EIP.1 → Identifier of the placer."""
    return _of_pair(value.sub(1), context, "placer-specimen", "PGN")


def filler_of_pair(value: Value, context: Context, codes: Codes | None) -> Json | None:
    """EIP.2 → Identifier of the filler."""
    return _of_pair(value.sub(2), context, "filler-specimen", "FGN")


def licence(value: Value, context: Context, codes: Codes | None) -> Json | None:
    """DLN → Identifier: number, issuing state, expiry."""
    text = value.text(1)
    if not text:
        return None
    found: Json = {"type": {"coding": [{"system": V2_0203, "code": "DL"}]}}
    found |= {"system": context.systems.own("licence", value.text(2)), "value": text}
    when = period(value, context, 0, 3) if value.text(3) else None
    return found | ({"period": when} if when else {})


def authority_at(value: Value, place: int, kind: str, context: Context, ours: str) -> Json:
    """The system and assigner of an identifier whose HD stands at `place`; `kind` is its type (table 0203)."""
    authority = value.sub(place)
    namespace = authority.text(1)
    system = context.systems.authority(namespace, authority.text(2), authority.text(3))
    if system is None:
        return {"system": _NATIONAL.get(kind) or context.systems.own(ours, kind)}
    return {"system": system, "assigner": {"display": namespace}} if namespace else {"system": system}


def kind_of(kind: str, context: Context) -> Json:
    """The coding of an identifier's type."""
    found = lookup(context.codes["IdentifierType"], kind)
    if is_unknown(found) or found is None:
        return {"system": context.systems.own("table", "0203"), "code": kind}
    return {"system": found[2], "code": found[0], "display": found[1]}


def _of_pair(value: Value, context: Context, ours: str, kind: str) -> Json | None:
    text = value.text(1)
    if not text:
        return None
    coding = {"system": V2_0203, "code": kind}
    return {"type": {"coding": [coding]}, "system": entity_system(value, context, ours), "value": text}
