"""Who a resource is: the identifiers by which the next message meets it again.

Whatever HL7 numbers is known by that number; what it does not number gets an identifier of ours, made of what tells
it apart, under urn:concord:… of the sender. See docs/mappings.md.
"""

from __future__ import annotations

from mappings.context import Context, joined
from mappings.hl7v2 import NULL, Segment
from mappings.identifiers import V2_0203, entity_system
from mappings.mapped import Json
from mappings.rules_patient import one
from mappings.value import Value

Match = tuple[tuple[str, str], ...]
# types of table 0203 that several people share, or that name no person: never proof of who somebody is
_SHARED = frozenset({"AN", "ANC", "AND", "ANT", "VN", "MB", "MC", "MA", "PNT", "SN", "GN", "NH", "XX", "U", "BA", "DS"})

_BEGIN = frozenset({"A01", "A04", "A05", "A14"})


def of_patient(cx: Context, resource: Json, pid: Segment) -> Match:
    """PID-3 (else PID-2, PID-4), without account and insurance numbers; a patient without a number stands alone."""
    found = [(item["system"], item["value"]) for item in resource.get("identifier", []) if _proves(item)]
    if found:
        return tuple(dict.fromkeys(found))
    account = one(pid, 18)
    cx.field = 3
    if account.text(1):
        own = {"system": account_system(cx, account), "value": account.text(1)}
        cx.warn("incomplete", "no number of the patient; known by the account number of PID-18 alone")
    else:
        own = {"system": cx.systems.own("message"), "value": f"{cx.control_id or 'unnumbered'}/{cx.segment}"}
        cx.warn("incomplete", "no number of the patient; this message's patient stands alone")
    resource.setdefault("identifier", []).append(own)
    return ((own["system"], own["value"]),)


def account_system(cx: Context, account: Value) -> str:
    """The system of an account number."""
    hd = account.sub(4)
    return cx.systems.authority(hd.text(1), hd.text(2), hd.text(3)) or cx.systems.own("account")


def of_visit(cx: Context, resource: Json, pv1: Segment, pid: Segment, patient: str) -> Match | None:
    """PV1-19, else PV1-50, else the account of PID-18, else the patient and the time of admission.

    None where nothing tells the visit from another; a message that begins one is then the visit's only mark.
    """
    if "identifier" in resource:
        numbered = resource["identifier"][:1] if one(pv1, 19).text(1) else resource["identifier"]
        return tuple((item["system"], item["value"]) for item in numbered)
    account, admitted = one(pid, 18), one(pv1, 44).text(1)
    if account.text(1):
        own = {"system": account_system(cx, account), "value": account.text(1)}
    elif admitted or cx.trigger in _BEGIN:
        own = {"system": cx.systems.own("visit-of"), "value": f"{patient}/{joined(admitted or cx.control_id)}"}
    else:
        return None
    resource["identifier"] = [own]
    return ((own["system"], own["value"]),)


class Numbers:
    """The placer's and filler's numbers of an order, from OBR, else ORC."""

    __slots__ = ("code", "filler", "key", "placer")

    def __init__(self, cx: Context, orc: Segment | None, obr: Segment | None) -> None:
        self.placer = _number(cx, orc, obr, 2, "placer")
        self.filler = _number(cx, orc, obr, 3, "filler")
        said = one(obr, 4) if obr else None
        self.code = "" if said is None else said.code(1) or said.text(2)
        known = self.filler or self.placer
        self.key = joined(known[1], _local(cx, known[0])) if known else joined(f"message {cx.control_id}", "")

    def identifiers(self) -> list[Json]:
        """Both numbers as identifiers."""
        found = []
        for number, kind in ((self.placer, "PLAC"), (self.filler, "FILL")):
            if number:
                coding = {"system": V2_0203, "code": kind}
                found.append({"type": {"coding": [coding]}, "system": number[0], "value": number[1]})
        return found


def of_report(cx: Context, numbers: Numbers, seen: dict[str, int]) -> Json:
    """The filler's number with the test ordered: labs give one number to several OBR; an ordinal where even that
    repeats in one message."""
    return ordinal(cx.systems.own("report"), f"{numbers.key}/{joined(numbers.code)}", seen)


def of_request(cx: Context, numbers: Numbers, seen: dict[str, int]) -> Json:
    """The placer's number, else the filler's, with the test ordered."""
    known = numbers.placer or numbers.filler
    number = joined(known[1], _local(cx, known[0])) if known else numbers.key
    return ordinal(cx.systems.own("request"), f"{number}/{joined(numbers.code)}", seen)


def of_observation(cx: Context, obx: Segment, report: str, specimen: str, seen: dict[str, int]) -> Json:
    """Filler order, OBX-3, OBX-4 and specimen; never OBX-1. One repeated without OBX-4 gets an ordinal."""
    code = one(obx, 3)
    told_apart = joined(code.code(1) or code.text(2), code.text(3), one(obx, 4).whole(), specimen)
    return ordinal(cx.systems.own("observation"), f"{report}/{told_apart.rstrip('/')}", seen)


def ordinal(system: str, value: str, seen: dict[str, int]) -> Json:
    """Return the identifier, with a number behind its value when this message has it already."""
    key = f"{system} {value}"
    count = seen[key] = seen.get(key, 0) + 1
    return {"system": system, "value": value if count == 1 else f"{value}#{count}"}


def _proves(item: Json) -> bool:
    kinds = item.get("type", {}).get("coding", [{}])
    shared = kinds[0].get("code") in _SHARED
    return not shared and item["system"] != "http://hl7.org/fhir/sid/us-ssn"


def _number(cx: Context, orc: Segment | None, obr: Segment | None, field: int, kind: str) -> tuple[str, str] | None:
    for segment in (obr, orc):
        if segment is None:
            continue
        found = one(segment, field)
        text = found.text(1)
        if text and text != NULL:
            return entity_system(found, cx, kind), text
    return None


def _local(cx: Context, system: str) -> str:
    """The authority in a composed value: short where it is a name within the sender's, nothing where there is none."""
    if system in (cx.systems.own("placer"), cx.systems.own("filler")):
        return ""
    return system.removeprefix(cx.systems.own("authority") + ":")
