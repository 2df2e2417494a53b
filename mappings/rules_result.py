"""Functions that rows of OBR, OBX, SPM and NTE name: values, status, ranges, who did it.

https://hl7.org/fhir/R4/observation.html https://hl7.org/fhir/R4/diagnosticreport.html
"""

from __future__ import annotations

from mappings import coded, names, people
from mappings.context import Context
from mappings.hl7v2 import Segment
from mappings.identifiers import entity_system
from mappings.mapped import Json
from mappings.quantities import reference_range as a_range
from mappings.quantities import unit
from mappings.rules_patient import one, values
from mappings.table import Draft
from mappings.value import Value

_ABSENT_REASON = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_SUB_ID = "http://hl7.org/fhir/StructureDefinition/observation-v2-subid"
_NO_VALUE = {"X": ("unknown", "Unknown"), "N": ("not-asked", "Not Asked")}
_VALUE_PARTS = ("value[x]", "component", "interpretation", "referenceRange", "dataAbsentReason")


def observation_status(cx: Context, segment: Segment, draft: Draft) -> None:
    """OBX-11 by table 0085; a result deleted or posted wrong shows no value; V only confirms what is there."""
    cx.field = 11
    said = one(segment, 11).code(1)
    found = coded.lookup(cx.codes["ObservationResultStatusCodesInterpretation"], said) if said else None
    if coded.is_unknown(found):
        cx.warn("code-invalid", f"result status {said!r} is not in table 0085")
        found = None
    if found:
        draft.set(cx, "status", found[0])
    if said in ("D", "W"):
        _withdraw(draft)
    if said == "V":
        draft.keep.append("status")
    if said in _NO_VALUE and not has_value(draft.resource):
        code, display = _NO_VALUE[said]
        coding = {"system": _ABSENT_REASON, "code": code, "display": display}
        draft.set(cx, "dataAbsentReason", {"coding": [coding]})


def has_value(resource: Json) -> bool:
    """Tell whether an Observation says anything."""
    return any(name.startswith("value") for name in resource) or "component" in resource


def _withdraw(draft: Draft) -> None:
    for name in list(draft.resource):
        if name.startswith("value") or name in _VALUE_PARTS:
            del draft.resource[name]
    draft.removed.extend(_VALUE_PARTS)


def sub_identifier(cx: Context, segment: Segment, draft: Draft) -> None:
    """OBX-4 → HL7's own extension for it."""
    text = one(segment, 4).whole()
    if text:
        part = {"url": "original-sub-identifier", "valueString": text}
        draft.resource.setdefault("extension", []).append({"url": _SUB_ID, "extension": [part]})
        draft.lineage[f"extension[{len(draft.resource['extension']) - 1}]"] = cx.here()


def reference_range(cx: Context, segment: Segment, draft: Draft) -> None:
    """OBX-7 → text, and bounds where it plainly says them."""
    text = one(segment, 7).whole()
    if text:
        draft.set(cx, "referenceRange", [a_range(text, unit(one(segment, 6), cx))])


def device(cx: Context, segment: Segment, draft: Draft) -> None:
    """OBX-18 → the device by its identifier; there is no resource for it."""
    found = one(segment, 18)
    text = found.text(1)
    if text:
        identifier = {"system": entity_system(found, cx, "device"), "value": text}
        draft.set(cx, "device", {"identifier": identifier, "display": text})


def performing_organization(cx: Context, segment: Segment, draft: Draft) -> None:
    """OBX-23, -24 and -25 → the laboratory, its address and its director."""
    reference = people.organization(one(segment, 23), cx, None)
    if reference is None:
        return
    performers = draft.resource.setdefault("performer", [])
    if reference not in performers:
        performers.append(reference)
        draft.lineage[f"performer[{len(performers) - 1}]"] = cx.here()
    laboratory = cx.entries[reference["reference"]].resource
    address = names.address(one(segment, 24), cx, None)
    if address:
        laboratory.setdefault("address", [address])
    director = names.practitioner_name(one(segment, 25), cx)
    if director:
        laboratory.setdefault("contact", [{"purpose": {"text": "Medical director"}, "name": director}])


def requester(cx: Context, segment: Segment, draft: Draft) -> None:
    """OBR-16, where ORC-12 named nobody."""
    if "requester" not in draft.resource:
        draft.set(cx, "requester", people.practitioner(one(segment, 16), cx, None))


def parent_order(cx: Context, segment: Segment, draft: Draft) -> None:
    """OBR-29 → the order this one came from, by its numbers."""
    pair = one(segment, 29)
    found = []
    for place, kind in ((1, "placer"), (2, "filler")):
        number = pair.sub(place)
        if number.text(1):
            identifier = {"system": entity_system(number, cx, kind), "value": number.text(1)}
            found.append({"type": "ServiceRequest", "identifier": identifier})
    if found:
        draft.set(cx, "basedOn", found)


def specimen_source(cx: Context, segment: Segment, draft: Draft) -> None:
    """OBR-15 (SPS): type, additive, method, site of a specimen that no SPM describes."""
    source = one(segment, 15)
    kind = _sub_concept(source, 1, cx, "SpecimenType")
    draft.set(cx, "type", kind)
    additive = _sub_concept(source, 2, cx, "AdditivePreservative")
    if additive:
        draft.set(cx, "container", [{"additiveCodeableConcept": additive}])
    site = _sub_concept(source, 4, cx, "BodySite")
    if site:
        draft.resource.setdefault("collection", {})["bodySite"] = site
    if source.text(3):
        draft.set(cx, "note", [{"text": source.text(3)}])


def comment(cx: Context, segment: Segment, draft: Draft) -> None:
    """NTE-3: repetitions are lines of one text."""
    text = "\n".join(value.whole() for value in values(segment, 3)).strip()
    if text:
        draft.set(cx, "note", [{"text": text}])


def _sub_concept(source: Value, place: int, cx: Context, table: str) -> Json | None:
    part = source.sub(place)
    return coded.codeable(part, cx, cx.codes[table]) if part else None
