"""Who and where: XCN, CNN, XON, PL → Practitioner, Organization, Location, made once a message and referred to.

HL7 v2.5.1 chapter 2.A.87 (XCN), 2.A.88 (XON), 2.A.53 (PL); https://hl7.org/fhir/R4/practitioner.html
Whom the sender gives no number is known by name, within that sender alone.
"""

from __future__ import annotations

from mappings.coded import is_unknown, lookup
from mappings.context import Codes, Context, joined
from mappings.identifiers import authority_at, kind_of
from mappings.mapped import Json
from mappings.names import name_at, practitioner_name
from mappings.value import Value

_CNN = (2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0)
_PHYSICAL = "http://terminology.hl7.org/CodeSystem/location-physical-type"
# PL components from the smallest place to the largest, with FHIR's physical type
_PLACES = ((3, "bd", "Bed"), (2, "ro", "Room"), (1, "wa", "Ward"), (8, "lvl", "Level"), (7, "bu", "Building"))
_SITE = (4, "si", "Site")


def practitioner(value: Value, cx: Context, codes: Codes | None) -> Json | None:
    """XCN → reference to a Practitioner."""
    number = value.text(1)
    name = practitioner_name(value, cx)
    if number:
        kind = value.code(13)
        identifier = authority_at(value, 9, kind, cx, "practitioner") | {"value": number}
        if kind:
            identifier = {"type": {"coding": [kind_of(kind, cx)]}} | identifier
    else:
        identifier = _by_name(cx, "practitioner-name", _name_key(name))
    return _person(identifier, name, _qualification(value, cx), cx)


def interpreter(value: Value, cx: Context, codes: Codes | None) -> Json | None:
    """NDL → reference to a Practitioner, by the CNN in its first component."""
    person = value.sub(1)
    number = person.text(1)
    name = name_at(person, cx, _CNN)
    if name and not number:
        identifier = _by_name(cx, "practitioner-name", _name_key(name))
    else:
        system = cx.systems.authority(person.text(9), person.text(10), person.text(11))
        identifier = {"system": system or cx.systems.own("practitioner"), "value": number}
    return _person(identifier, name, None, cx)


def organization(value: Value, cx: Context, codes: Codes | None) -> Json | None:
    """XON → reference to an Organization."""
    name, number = value.text(1), value.text(10) or value.text(3)
    if number:
        kind = value.code(7)
        identifier = authority_at(value, 6, kind, cx, "organization") | {"value": number}
        if kind:
            identifier = {"type": {"coding": [kind_of(kind, cx)]}} | identifier
    else:
        identifier = _by_name(cx, "organization-name", name.upper())
    return organization_of(identifier, name, cx)


def coded_organization(value: Value, cx: Context, codes: Codes | None) -> Json | None:
    """CWE → reference to an Organization, as OBX-15 names the producer."""
    number, name = value.text(1), value.text(9) or value.text(2)
    system = value.text(3)
    if number:
        identifier = {"system": cx.systems.authority(system, "", "") or cx.systems.own("organization"), "value": number}
    else:
        identifier = _by_name(cx, "organization-name", name.upper())
    return organization_of(identifier, name, cx)


def organization_of(identifier: Json, name: str, cx: Context) -> Json | None:
    """Make an Organization under this identifier; None where nothing identifies it."""
    if not identifier["value"]:
        return None
    resource: Json = {"resourceType": "Organization", "identifier": [identifier]}
    if name:
        resource["name"] = name
    entry = cx.add(resource, _match(identifier), {"identifier[0]": cx.here(), "name": cx.here()})
    return {"reference": entry.full_url} | ({"display": name} if name else {})


def location(value: Value, cx: Context, codes: Codes | None) -> Json | None:
    """PL → reference to one Location, the smallest place named; the larger ones are in its name and identifier."""
    parts = [value.sub(n).text(1) for n in (1, 2, 3, 4, 7, 8)]
    words = [value.sub(n).text(1) for n, _, _ in (*reversed(_PLACES), _SITE)]
    name = value.text(9) or " ".join(dict.fromkeys(word for word in words if word))
    if not name:
        return None
    identifier = {"system": cx.systems.own("location"), "value": joined(*parts, value.text(9)).rstrip("/") or name}
    smallest = next((place for place in (*_PLACES, _SITE) if value.sub(place[0]).text(1)), None)
    resource: Json = {"resourceType": "Location", "identifier": [identifier], "name": name, "mode": "instance"}
    if smallest:
        resource["physicalType"] = {"coding": [{"system": _PHYSICAL, "code": smallest[1], "display": smallest[2]}]}
    entry = cx.add(resource, _match(identifier), {"name": cx.here(), "identifier[0]": cx.here()})
    return {"reference": entry.full_url, "display": name}


def discharged_to(value: Value, cx: Context, codes: Codes | None) -> Json | None:
    """DLD → a reference by name alone: table 0113 has no values of its own."""
    text = value.sub(1).text(2) or value.sub(1).text(1)
    return {"display": text} if text else None


def _person(identifier: Json, name: Json | None, qualification: Json | None, cx: Context) -> Json | None:
    if not identifier["value"]:
        return None
    resource: Json = {"resourceType": "Practitioner", "identifier": [identifier]}
    if name:
        resource["name"] = [name]
    if qualification:
        resource["qualification"] = [qualification]
    entry = cx.add(resource, _match(identifier), {"identifier[0]": cx.here(), "name[0]": cx.here()})
    display = _display(name)
    return {"reference": entry.full_url} | ({"display": display} if display else {})


def _qualification(value: Value, cx: Context) -> Json | None:
    degree = value.code(7)
    if not degree:
        return None
    found = lookup(cx.codes["DegreeLicenseCertificate"], degree)
    if found is None or is_unknown(found):
        return {"code": {"text": degree}}
    return {"code": {"coding": [{"system": found[2], "code": found[0], "display": found[1]}]}}


def _match(identifier: Json) -> tuple[tuple[str, str], ...]:
    return ((identifier["system"], identifier["value"]),)


def _by_name(cx: Context, kind: str, key: str) -> Json:
    return {"system": cx.systems.own(kind), "value": key}


def _name_key(name: Json | None) -> str:
    if not name:
        return ""
    return " ".join([name.get("family", ""), *name.get("given", [])]).strip().upper()


def _display(name: Json | None) -> str:
    if not name:
        return ""
    words = [*name.get("prefix", []), *name.get("given", []), name.get("family", ""), *name.get("suffix", [])]
    return " ".join(word for word in words if word)
