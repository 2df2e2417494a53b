"""Functions that rows of PID, NK1, AL1 and IN1 name: what needs more than one field, or an `if`.

https://hl7.org/fhir/R4/patient.html https://hl7.org/fhir/R4/coverage.html
"""

from __future__ import annotations

from mappings import coded, identifiers, names, people
from mappings.context import Context
from mappings.hl7v2 import Segment
from mappings.mapped import Json
from mappings.table import MOST_REPETITIONS, Draft
from mappings.times import a_date
from mappings.value import Value

_BIRTH_TIME = "http://hl7.org/fhir/StructureDefinition/patient-birthTime"
_US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-"
_CDC = "urn:oid:2.16.840.1.113883.6.238"
_CDC_NAMES = frozenset({"CDCREC", "2.16.840.1.113883.6.238", "HL70005", "HL70189"})
_ETHNICITY = {"H": ("2135-2", "Hispanic or Latino"), "N": ("2186-5", "Not Hispanic or Latino")}
_COVERAGE_CLASS = "http://terminology.hl7.org/CodeSystem/coverage-class"
_ABSENT = {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}


def values(segment: Segment, number: int) -> list[Value]:
    """Return a field's repetitions, cut into components; none where it is absent or empty."""
    marks = segment.delimiters
    return [Value(raw, marks, marks.component) for raw in segment.repetitions(number)[:MOST_REPETITIONS] if raw]


def one(segment: Segment, number: int) -> Value:
    """Return a field's first repetition, an empty one where there is none."""
    marks = segment.delimiters
    raw = segment.field(number) or ""
    return Value(raw.split(marks.repetition, 1)[0], marks, marks.component)


def no_room(cx: Context, segment: Segment, draft: Draft) -> None:
    """A field that FHIR has no element for, or that is not mapped yet: say so."""
    cx.inform("this field is not mapped")


def birth(cx: Context, segment: Segment, draft: Draft) -> None:
    """PID-7: the date, and the time of day where it was sent."""
    text = one(segment, 7).text(1)
    date = a_date(text)
    if date is None:
        cx.warn("value", f"{text!r} is no date")
        return
    draft.set(cx, "birthDate", date)
    when = cx.clock.instant(text)
    if when and "T00:00:00" not in when:
        draft.resource["_birthDate"] = {"extension": [{"url": _BIRTH_TIME, "valueDateTime": when}]}


def county(cx: Context, segment: Segment, draft: Draft) -> None:
    """PID-12: the district of the only address, else an address of its own."""
    text = one(segment, 12).text(1)
    addresses = draft.resource.setdefault("address", [])
    if text and len(addresses) == 1:
        addresses[0].setdefault("district", text)
    if text and all(address.get("district") != text for address in addresses):
        addresses.append({"district": text})
    if not addresses:
        del draft.resource["address"]
    else:
        draft.lineage[f"address[{len(addresses) - 1}].district"] = cx.here()


def race(cx: Context, segment: Segment, draft: Draft) -> None:
    """PID-10 → US Core's race extension."""
    _us_core(cx, values(segment, 10), draft, "race", {})


def ethnicity(cx: Context, segment: Segment, draft: Draft) -> None:
    """PID-22 → US Core's ethnicity extension."""
    _us_core(cx, values(segment, 22)[:1], draft, "ethnicity", _ETHNICITY)


def kin_organization(cx: Context, segment: Segment, draft: Draft) -> None:
    """NK1-13: the name of next of kin that is no person."""
    text = one(segment, 13).text(1)
    if text and "name" not in draft.resource:
        draft.set(cx, "name", [{"text": text}])


def allergy_reaction(cx: Context, segment: Segment, draft: Draft) -> None:
    """AL1-5: a reaction, each repetition a manifestation, as severe as AL1-4 says."""
    texts = [text for value in values(segment, 5) if (text := value.whole())]
    if not texts:
        return
    reaction: Json = {"manifestation": [{"text": text} for text in texts]}
    severity = one(segment, 4).code(1)
    found = coded.lookup(cx.codes["AllergySeverity[AllergyIntolerance.reaction.severity]"], severity)
    if severity and found and not coded.is_unknown(found):
        reaction["severity"] = found[0]
    draft.set(cx, "reaction", [reaction])


def payor(cx: Context, segment: Segment, draft: Draft) -> None:
    """IN1-3 number, IN1-4 name, IN1-5 address, IN1-7 telephone → the insurer."""
    cx.field = 4
    number, name = one(segment, 3), one(segment, 4).text(1)
    identifier = identifiers.cx(number, cx, None) if number.text(1) else None
    if identifier is None and name:
        identifier = {"system": cx.systems.own("organization-name"), "value": name.upper()}
    reference = people.organization_of(identifier, name, cx) if identifier else None
    if identifier and reference:
        insurer = cx.entries[reference["reference"]].resource
        for key, found in (
            ("address", [names.address(value, cx, None) for value in values(segment, 5)]),
            ("telecom", [names.contact(value, cx, None) for value in values(segment, 7)]),
        ):
            if any(found):
                insurer.setdefault(key, [item for item in found if item])
    draft.set(cx, "payor", [reference or {"extension": [_ABSENT]}])


def plan(cx: Context, segment: Segment, draft: Draft) -> None:
    """IN1-2 → the plan among the classes of a Coverage."""
    found = one(segment, 2)
    _coverage_class(cx, draft, "plan", found.text(1) or found.text(2), found.text(2))


def group(cx: Context, segment: Segment, draft: Draft) -> None:
    """IN1-8 and IN1-9 → the group among the classes of a Coverage."""
    _coverage_class(cx, draft, "group", one(segment, 8).text(1), one(segment, 9).text(1))


def _coverage_class(cx: Context, draft: Draft, kind: str, value: str, name: str) -> None:
    if not value:
        return
    item: Json = {"type": {"coding": [{"system": _COVERAGE_CLASS, "code": kind}]}, "value": value}
    draft.resource.setdefault("class", []).append(item | ({"name": name} if name else {}))
    draft.lineage[f"class[{len(draft.resource['class']) - 1}]"] = cx.here()


def _us_core(cx: Context, found: list[Value], draft: Draft, kind: str, short: dict[str, tuple[str, str]]) -> None:
    parts: list[Json] = []
    texts = []
    for value in found:
        code, shown = short.get(value.code(1), (value.code(1), value.text(2)))
        texts.append(shown or value.text(9) or code)
        if code and (value.text(3) in _CDC_NAMES or value.code(1) in short):
            coding = {"system": _CDC, "code": code} | ({"display": shown} if shown else {})
            if not (kind == "ethnicity" and parts):
                parts.append({"url": "ombCategory", "valueCoding": coding})
    text = ", ".join(text for text in texts if text)
    if text:
        item = {"url": f"{_US_CORE}{kind}", "extension": [*parts, {"url": "text", "valueString": text}]}
        draft.resource.setdefault("extension", []).append(item)
        draft.lineage[f"extension[{len(draft.resource['extension']) - 1}]"] = cx.here()
