"""An HL7 v2 message to FHIR R4 resources, by the tables in mappings/tables.

https://build.fhir.org/ig/HL7/v2-to-fhir/ — what is mapped, and how things are known again: docs/mappings.md
"""

from __future__ import annotations

from collections.abc import Mapping
from zoneinfo import ZoneInfoNotFoundError

from conformance.issue import error, warning
from mappings.calls import CALLS
from mappings.context import Context, joined
from mappings.groups import Groups, Person, group
from mappings.hl7v2 import Message, Segment, order_key
from mappings.mapped import AS_OF, Document, Entry, Mapped, SenderProfile, Unmapped, decode, encode
from mappings.patients import Mapper, around, encounter, patient
from mappings.results import Results
from mappings.rules_patient import one
from mappings.systems import Systems
from mappings.table import Tables, load
from mappings.times import Clock

__all__ = ["AS_OF", "Entry", "Mapped", "SenderProfile", "Unmapped", "decode", "encode", "order_key", "to_fhir"]

MOST_ISSUES = 500
"""Who reads five hundred problems of one message does not need the rest."""

# read at import: a bad table stops the start, not a message
_TABLES: Tables = load(CALLS)


def to_fhir(message: Message, profile: SenderProfile, documents: Mapping[str, Document] | None = None) -> Mapped:
    """Return the resources a message speaks of, each with its identity, and what could not be mapped as it stands.

    `documents` are those that were cut out of the message, by the words that stand for them.

    Raises Unmapped where there is no map for the message, or it lacks the patient its map needs; nothing else,
    whatever the text. A profile with an unknown time zone raises Unmapped too: times would be wrong.
    """
    head = message.first("MSH")
    if head is None:
        raise Unmapped([error("structure", "the message has no MSH", "MSH")])
    structure = _structure(head)
    groups = group(message)
    if not groups.people:
        raise Unmapped([error("required", "the message has no PID: there is nobody to file it under", "PID")])
    cx = _context(head, message, profile, documents)
    mapper = Mapper(cx, _TABLES, structure)
    seen: dict[str, int] = {}
    for person in groups.people:
        _person(mapper, person, structure, seen)
    _say_what_is_left(cx, groups)
    return _finished(cx)


def _structure(head: Segment) -> str:
    """The structure whose map serves this message, by MSH-9."""
    kind = one(head, 9)
    code, trigger = kind.code(1).upper(), kind.code(2).upper()
    structure = _TABLES.structures.get(f"{code}^{trigger}")
    if structure is None:
        said = f"{code}^{trigger}" if code else "no type"
        raise Unmapped([error("not-supported", f"MSH-9: there is no map for messages of type {said}", "MSH-9")])
    return structure


def _context(
    head: Segment, message: Message, profile: SenderProfile, documents: Mapping[str, Document] | None
) -> Context:
    sent = one(head, 7).text(1)
    sender = one(head, 4).text(1) or one(head, 4).text(2) or one(head, 3).text(1) or one(head, 3).text(2)
    try:
        clock = Clock(profile.zone, sent)
    except (ZoneInfoNotFoundError, ValueError) as problem:
        raise Unmapped([error("not-supported", f"the sender's time zone {profile.zone!r} is not known")]) from problem
    systems = Systems(profile, sender, _TABLES.systems)
    cx = Context(profile, message.delimiters, systems, clock, _TABLES.codes, documents)
    cx.newer = clock.date_time(sent)
    cx.trigger = one(head, 9).code(2).upper()
    cx.control_id = one(head, 10).text(1)
    return cx


def _person(mapper: Mapper, person: Person, structure: str, seen: dict[str, int]) -> None:
    subject = patient(mapper, person)
    visit = encounter(mapper, person, subject, needs_number=structure == "ORU_R01")
    around(mapper, person, subject, visit)
    results = Results(mapper, subject, visit)
    if person.results:
        key = joined("visit", *visit.match[0]) if visit else joined("patient", *subject.match[0])
        results.observations(person.results, key, None, [], seen)
    for order in person.orders:
        if mapper.find("OBR", "DiagnosticReport"):
            results.order(order, seen)
        else:
            mapper.cx.inform(
                "orders are not mapped from this type of message", (order.orc or order.obr or person.pid).label
            )


def _say_what_is_left(cx: Context, groups: Groups) -> None:
    """Name the segments that have no map, once each; they stay in the message that is kept."""
    for name in dict.fromkeys(noted.segment.id for noted in groups.stray):
        cx.inform(f"segment {name} is not mapped", name)
    for person in groups.people:
        visit = (person.visit.pv1, person.visit.pv2) if person.visit else ()
        for noted in (person.pid, person.pd1, *visit, *(each for found in person.others.values() for each in found)):
            if noted and noted.notes:
                cx.inform("FHIR has no place for a comment here", noted.notes[0].label)


def _finished(cx: Context) -> Mapped:
    """Stamp each resource with the time that tells newer from older."""
    for entry in cx.entries.values():
        if entry.newer:
            stamp = {"url": AS_OF, "valueDateTime": entry.newer}
            entry.resource.setdefault("meta", {}).setdefault("extension", []).append(stamp)
    issues = cx.issues[:MOST_ISSUES]
    if len(cx.issues) > MOST_ISSUES:
        issues.append(
            warning("too-costly", f"{len(cx.issues) - MOST_ISSUES} more problems of this message are not listed")
        )
    return Mapped(list(cx.entries.values()), issues)
