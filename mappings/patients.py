"""A patient and what stands around: Patient, Encounter, RelatedPerson, AllergyIntolerance, Condition, Coverage.

https://build.fhir.org/ig/HL7/v2-to-fhir/message_maps.html
"""

from __future__ import annotations

from mappings import identity
from mappings.attachments import settle
from mappings.coded import is_unknown, lookup
from mappings.context import Context, full_url, joined
from mappings.groups import Noted, Person
from mappings.hl7v2 import Segment
from mappings.mapped import Entry, Json
from mappings.names import human_name
from mappings.rules_patient import one
from mappings.table import Draft, SegmentMap, Tables

_SELF = frozenset({"SEL", "SELF", "18", "S", "ONESELF"})


class Mapper:
    """Maps the groups of one message by the plan of its structure."""

    def __init__(self, cx: Context, tables: Tables, structure: str) -> None:
        self.cx = cx
        self.plan = tables.messages[structure]
        self.notes = tables.segments["NTE[Observation]"]

    def find(self, segment_id: str, resource_type: str) -> SegmentMap | None:
        """The segment map that fills this resource from this segment, if the structure has one."""
        return self.plan.get((segment_id, resource_type))

    def read(self, draft: Draft, *segments: Noted | None) -> Draft:
        """Read segments into a resource."""
        kind = draft.resource["resourceType"]
        for noted in segments:
            found = noted and self.find(noted.segment.id, kind)
            if noted and found:
                found.apply(self.cx, noted.segment, noted.label, draft)
        return draft

    def keep(self, draft: Draft, match: identity.Match, source: str) -> Entry:
        """Make the resource an entry of the message; `source` is the field that numbers it."""
        draft.lineage.setdefault("identifier[0]", source)
        entry = self.cx.add(draft.resource, match, draft.lineage)
        entry.removed += tuple(name for name in dict.fromkeys(draft.removed) if name not in entry.removed)
        entry.keep += tuple(draft.keep)
        if self.cx.documents:
            settle(self.cx, entry)
        return entry


def patient(mapper: Mapper, person: Person) -> Entry:
    """PID and PD1 → Patient."""
    draft = mapper.read(Draft("Patient"), person.pid, person.pd1)
    mapper.cx.segment = person.pid.label
    match = identity.of_patient(mapper.cx, draft.resource, person.pid.segment)
    return mapper.keep(draft, match, person.pid.label)


def encounter(mapper: Mapper, person: Person, subject: Entry, *, needs_number: bool) -> Entry | None:
    """PV1 and PV2 → Encounter; beside results only where the visit is numbered, for else it may be any visit."""
    visit = person.visit
    if visit is None or mapper.find("PV1", "Encounter") is None:
        return None
    pv1 = visit.pv1.segment
    if needs_number and not one(pv1, 19).text(1):
        mapper.cx.inform("a visit without a number, beside results, is not kept", f"{visit.pv1.label}-19")
        return None
    draft = mapper.read(Draft("Encounter"), visit.pv1, visit.pv2)
    draft.resource["subject"] = {"reference": subject.full_url}
    match = identity.of_visit(mapper.cx, draft.resource, pv1, person.pid.segment, key_of(subject))
    if match is None:
        mapper.cx.warn("incomplete", "a visit that nothing tells from another is not kept", f"{visit.pv1.label}-19")
        return None
    return mapper.keep(draft, match, f"{visit.pv1.label}-19")


def around(mapper: Mapper, person: Person, subject: Entry, visit: Entry | None) -> None:
    """NK1, AL1, DG1 and IN1 of a patient."""
    for noted in person.others.get("NK1", []):
        _related(mapper, noted, subject)
    for noted in person.others.get("AL1", []):
        _allergy(mapper, noted, subject)
    for rank, noted in enumerate(person.others.get("DG1", []), 1):
        _diagnosis(mapper, noted, rank, subject, visit)
    for noted in person.others.get("IN1", []):
        _coverage(mapper, noted, subject)


def key_of(subject: Entry) -> str:
    """A patient as part of another identifier."""
    return joined(*subject.match[0])


def _related(mapper: Mapper, noted: Noted, subject: Entry) -> None:
    """NK1 → RelatedPerson, known by patient, name and relationship."""
    if mapper.find("NK1", "RelatedPerson") is None:
        return
    draft = mapper.read(Draft("RelatedPerson"), noted)
    if not draft.resource.keys() & {"name", "telecom", "address", "identifier"}:
        mapper.cx.inform("next of kin without name, address or telephone number is not kept", noted.label)
        return
    name = draft.resource.get("name", [{}])[0]
    words = [name.get("family", name.get("text", "")), *name.get("given", [])]
    _own(mapper, draft, "related", noted, subject, " ".join(words).upper(), one(noted.segment, 3).code(1))


def _allergy(mapper: Mapper, noted: Noted, subject: Entry) -> None:
    """AL1 → AllergyIntolerance, known by patient and substance."""
    if mapper.find("AL1", "AllergyIntolerance") is None:
        return
    draft = mapper.read(Draft("AllergyIntolerance"), noted)
    substance = one(noted.segment, 3)
    key = substance.code(1) or substance.text(2)
    if not key:
        mapper.cx.warn("incomplete", "an allergy to nothing named is not kept", f"{noted.label}-3")
        return
    _own(mapper, draft, "allergy", noted, subject, key.upper())


def _diagnosis(mapper: Mapper, noted: Noted, rank: int, subject: Entry, visit: Entry | None) -> None:
    """DG1 → Condition, known by patient, visit and code; the Encounter refers to it."""
    if mapper.find("DG1", "Condition") is None:
        return
    draft = mapper.read(Draft("Condition"), noted)
    diagnosis = one(noted.segment, 3)
    key = diagnosis.code(1) or diagnosis.text(2) or one(noted.segment, 4).whole()
    if not key:
        mapper.cx.warn("incomplete", "a diagnosis without code or text is not kept", f"{noted.label}-3")
        return
    if visit:
        draft.resource["encounter"] = {"reference": visit.full_url}
    of_visit = joined(*visit.match[0]) if visit else ""
    entry = _own(mapper, draft, "condition", noted, subject, of_visit, key.upper())
    if visit and draft.resource.get("verificationStatus") is None:
        _refer(mapper.cx, visit, entry, noted.segment, rank)


def _refer(cx: Context, visit: Entry, condition: Entry, dg1: Segment, rank: int) -> None:
    item: Json = {"condition": {"reference": condition.full_url}}
    use = lookup(cx.codes["DiagnosisUse"], one(dg1, 6).code(1))
    if use and not is_unknown(use):
        item["use"] = {"coding": [{"system": use[2], "code": use[0], "display": use[1]}]}
    visit.resource.setdefault("diagnosis", []).append(item | {"rank": rank})


def _coverage(mapper: Mapper, noted: Noted, subject: Entry) -> None:
    """IN1 → Coverage, known by patient, insurer, plan and policy."""
    if mapper.find("IN1", "Coverage") is None:
        return
    draft = mapper.read(Draft("Coverage"), noted)
    segment = noted.segment
    insurer = one(segment, 3).text(1) or one(segment, 4).text(1)
    policy = one(segment, 36).text(1) or one(segment, 49).text(1)
    plan = one(segment, 2).text(1) or one(segment, 2).text(2)
    if not (insurer or policy or plan):
        mapper.cx.warn("incomplete", "insurance without insurer, plan or policy is not kept", noted.label)
        return
    _subscriber(mapper, draft, segment, subject)
    _own(mapper, draft, "coverage", noted, subject, insurer.upper(), plan, policy)


def _subscriber(mapper: Mapper, draft: Draft, segment: Segment, subject: Entry) -> None:
    """IN1-17 says whose insurance it is; another person's is named in words."""
    if one(segment, 17).code(1).upper() in _SELF:
        draft.resource["subscriber"] = {"reference": subject.full_url}
        return
    name = human_name(one(segment, 16), mapper.cx, None)
    if name:
        words = [*name.get("given", []), name.get("family", "")]
        draft.resource["subscriber"] = {"display": " ".join(word for word in words if word) or "unnamed"}


def _own(mapper: Mapper, draft: Draft, kind: str, noted: Noted, subject: Entry, *parts: str) -> Entry:
    """Keep a resource under an identifier of ours that is made of the patient and `parts`."""
    cx = mapper.cx
    own = {"system": cx.systems.own(kind), "value": f"{key_of(subject)}/{joined(*parts)}".rstrip("/")}
    draft.resource["identifier"] = [own, *draft.resource.get("identifier", [])]
    patient_of = {"Coverage": "beneficiary", "Condition": "subject"}.get(draft.resource["resourceType"], "patient")
    draft.resource[patient_of] = {"reference": subject.full_url}
    known = full_url(draft.resource["resourceType"], own["system"], own["value"]) in cx.entries
    if known:
        cx.inform("the same again in this message; the first is kept", noted.label)
    return mapper.keep(draft, ((own["system"], own["value"]),), noted.label)
