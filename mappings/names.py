"""Names, addresses, telephone numbers: XPN, XAD, XTN → HumanName, Address, ContactPoint.

HL7 v2.5.1 chapter 2.A.89 (XPN), 2.A.86 (XAD), 2.A.90 (XTN); https://hl7.org/fhir/R4/datatypes.html#HumanName
"""

from __future__ import annotations

from mappings.coded import is_unknown, lookup
from mappings.context import Codes, Context
from mappings.mapped import Json
from mappings.value import Value

_FAMILY = (
    (2, "http://hl7.org/fhir/StructureDefinition/humanname-own-prefix"),
    (3, "http://hl7.org/fhir/StructureDefinition/humanname-own-name"),
    (4, "http://hl7.org/fhir/StructureDefinition/humanname-partner-prefix"),
    (5, "http://hl7.org/fhir/StructureDefinition/humanname-partner-name"),
)
_PHONE = (
    (5, "http://hl7.org/fhir/StructureDefinition/contactpoint-country"),
    (6, "http://hl7.org/fhir/StructureDefinition/contactpoint-area"),
    (7, "http://hl7.org/fhir/StructureDefinition/contactpoint-local"),
    (8, "http://hl7.org/fhir/StructureDefinition/contactpoint-extension"),
)
# places of: family, given, further given, suffix, prefix, degree, type, start, end, range, professional suffix
_XPN = (1, 2, 3, 4, 5, 6, 7, 12, 13, 10, 14)
_XCN = (2, 3, 4, 5, 6, 0, 10, 19, 20, 17, 21)


def human_name(value: Value, cx: Context, codes: Codes | None) -> Json | None:
    """XPN → HumanName; None where nothing names anybody."""
    return name_at(value, cx, _XPN)


def practitioner_name(value: Value, cx: Context) -> Json | None:
    """The name in an XCN."""
    return name_at(value, cx, _XCN)


def name_at(value: Value, cx: Context, places: tuple[int, ...]) -> Json | None:
    """Return the HumanName whose parts stand at these places (0: nowhere)."""
    family, given, further, suffix, prefix, degree, kind, start, end, span, professional = places
    name = _family(value, family)
    givens = [text for text in (value.text(given), value.text(further)) if text]
    if givens:
        name["given"] = givens
    prefixes = [value.text(prefix)] if value.text(prefix) else []
    suffixes = [text for place in (suffix, degree, professional) if place and (text := value.text(place))]
    if not name and not prefixes and not suffixes:
        return None
    for key, texts in (("prefix", prefixes), ("suffix", suffixes)):
        if texts:
            name[key] = texts
    if kind and len(value.parts) >= kind:
        use = _use(value.code(kind), cx, "NameType")
        when = period(value, cx, start, end, span)
        name = ({"use": use} if use else {}) | name | ({"period": when} if when else {})
    return name


def mothers_name(value: Value, cx: Context, codes: Codes | None) -> str | None:
    """XPN → string, given names before the family's."""
    words = [value.text(2), value.text(3), value.sub(1).text(1)]
    return " ".join(word for word in words if word) or None


def address(value: Value, cx: Context, codes: Codes | None) -> Json | None:
    """XAD → Address; None where it has no more than a type."""
    street = value.sub(1)
    lines = [text for text in (street.text(1), street.text(2), street.text(3), value.text(2), value.text(19)) if text]
    found: Json = {"line": lines} if lines else {}
    for key, place in (("city", 3), ("district", 9), ("state", 4), ("postalCode", 5), ("country", 6)):
        text = value.text(place)
        if text:
            found[key] = text
    if not found:
        return None
    kind = value.code(7)
    use, form = _use(kind, cx, "AddressType[Use]"), _quiet(kind, cx, "AddressType[Type]")
    when = period(value, cx, 13, 14, 12)
    head = ({"use": use} if use else {}) | ({"type": form} if form else {})
    return head | found | ({"period": when} if when else {})


def contact(value: Value, cx: Context, codes: Codes | None) -> Json | None:
    """XTN → ContactPoint: e-mail, a composed number, an unformatted or an old-style one, whichever was sent."""
    kind = value.code(3)
    number, mail = _number(value), value.text(4)
    is_mail = kind in ("Internet", "X.400", "NET") or not number or "@" in number
    text = (mail or number) if is_mail else number
    if not text:
        return None
    system = "email" if is_mail else _quiet(kind, cx, "TelecommunicationEquipmentType") or "phone"
    use = _use(value.code(2), cx, "TelecommunicationUseCode")
    if system == "mobile":  # table 0202 says "cellular" where FHIR has a use
        system, use = "phone", "mobile"
    found: Json = {"system": system, "value": text}
    if use:
        found["use"] = use
    return _contact_rest(value, cx, found, is_mail=is_mail)


def period(value: Value, cx: Context, start: int, end: int, span: int = 0) -> Json | None:
    """Two components, or the two halves of a DR, → Period."""
    between = value.sub(span) if span and len(value.parts) >= span else None
    first = value.text(start) or (between.text(1) if between else "")
    last = value.text(end) or (between.text(2) if between else "")
    found = {}
    for key, text in (("start", first), ("end", last)):
        when = cx.clock.date_time(text) if text else None
        if when:
            found[key] = when
        elif text:
            cx.warn("value", f"{text!r} is no time")
    return found or None


def _family(value: Value, place: int) -> Json:
    parts = value.sub(place)
    name: Json = {"family": parts.text(1)} if parts.text(1) else {}
    if name and len(parts.parts) > 1:
        extensions = [{"url": url, "valueString": parts.text(n)} for n, url in _FAMILY if parts.text(n)]
        if extensions:
            name["_family"] = {"extension": extensions}
    return name


def _number(value: Value) -> str:
    """The number as somebody wrote it, else put together from its parts, else as old versions have it."""
    country, area, local, extension = (value.text(n) for n in (5, 6, 7, 8))
    written = value.text(12)
    if written or not local:
        return written or value.text(1)
    parts = [f"+{country.removeprefix('+')}" if country else "", area, local, f"X{extension}" if extension else ""]
    return " ".join(part for part in parts if part)


def _contact_rest(value: Value, cx: Context, found: Json, *, is_mail: bool) -> Json:
    """Rank, period, and the parts of a composed number as extensions."""
    rank = value.text(18)
    if rank.isascii() and rank.isdigit() and int(rank[:9]) > 0:
        found["rank"] = int(rank[:9])
    when = period(value, cx, 13, 14) if len(value.parts) >= 13 else None
    if when:
        found["period"] = when
    extensions = [] if is_mail else [{"url": url, "valueString": value.text(n)} for n, url in _PHONE if value.text(n)]
    return {"extension": extensions} | found if extensions else found


def _use(kind: str, cx: Context, table: str) -> str | None:
    """The FHIR code for a type; a code nobody knows is noted."""
    if not kind:
        return None
    found = lookup(cx.codes[table], kind)
    if is_unknown(found):
        cx.inform(f"type {kind!r} has no equivalent in {table}")
        return None
    return found[0] if found else None


def _quiet(kind: str, cx: Context, table: str) -> str | None:
    found = lookup(cx.codes[table], kind) if kind else None
    return None if found is None or is_unknown(found) else found[0]
