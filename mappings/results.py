"""Orders and results: DiagnosticReport, ServiceRequest, Specimen, Observation.

https://build.fhir.org/ig/HL7/v2-to-fhir/message_maps.html https://hl7.org/fhir/R4/diagnosticreport.html
"""

from __future__ import annotations

from mappings import identity, observed
from mappings.coded import is_unknown, lookup
from mappings.context import Context, joined
from mappings.groups import Noted, Order
from mappings.identifiers import V2_0203, entity_system
from mappings.mapped import Entry, Json
from mappings.patients import Mapper
from mappings.rules_patient import one
from mappings.rules_result import has_value
from mappings.table import Draft
from mappings.value import MAX_STRING

_NOTE = "http://hl7.org/fhir/5.0/StructureDefinition/extension-DiagnosticReport.note"
_UNKNOWN = {
    "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]
}
_UNDONE = frozenset({"registered", "preliminary"})
_REQUEST_OF_REPORT = {
    "final": "completed",
    "corrected": "completed",
    "amended": "completed",
    "cancelled": "revoked",
    "registered": "active",
    "partial": "active",
    "preliminary": "active",
}


class Results:
    """Maps the orders of one patient."""

    def __init__(self, mapper: Mapper, subject: Entry, visit: Entry | None) -> None:
        self.mapper = mapper
        self.cx: Context = mapper.cx
        self.subject = {"reference": subject.full_url}
        self.visit = {"reference": visit.full_url} if visit else None
        self.kind: Json | None = None
        self.numbered: dict[tuple[str, str], Entry] = {}

    def order(self, order: Order, seen: dict[str, int]) -> None:
        """One ORC/OBR group: request, specimens, results, report, in the order in which they refer to each other."""
        newer = self.cx.newer
        obr = order.obr.segment if order.obr else None
        status_time = self.cx.clock.date_time(one(obr, 22).text(1)) if obr else None
        self.cx.newer = status_time or newer
        self.kind = self.category(one(obr, 24).code(1) if obr else "")
        numbers = identity.Numbers(self.cx, order.orc.segment if order.orc else None, obr)
        own = identity.of_report(self.cx, numbers, seen)
        specimens = self.specimens(order, own["value"], seen)
        self.numbered = {number: specimen for specimen in specimens for number in specimen.match}
        report = self.report_draft(order, numbers, own)
        request = self.request(order, numbers, report, seen)
        results = self.observations(order.results, own["value"], report, specimens, seen)
        if order.obr:
            self.finish_report(order, report, request, specimens, results)
        self.cx.newer = newer

    def observations(
        self, found: list[Noted], report_key: str, report: Draft | None, specimens: list[Entry], seen: dict[str, int]
    ) -> list[Entry]:
        """OBX → Observation, but a document becomes part of the report."""
        kept = []
        for noted in found:
            if report and observed.is_document(noted.segment):
                self.attach(noted, report)
                continue
            kept.append(self.observation(noted, report_key, report, specimens, seen))
        return kept

    def observation(
        self, noted: Noted, report_key: str, report: Draft | None, specimens: list[Entry], seen: dict[str, int]
    ) -> Entry:
        """One OBX → Observation."""
        draft = self.mapper.read(Draft("Observation"), noted)
        resource = draft.resource
        specimen = self.specimen_of(noted, specimens)
        key = specimen.match[0][1] if specimen and len(specimens) > 1 else ""
        own = identity.of_observation(self.cx, noted.segment, report_key, key, seen)
        resource["identifier"] = [own, *resource.get("identifier", [])]
        resource["subject"] = self.subject
        if self.visit:
            resource["encounter"] = self.visit
        if specimen:
            resource["specimen"] = {"reference": specimen.full_url}
        if report:
            _inherit(draft, report)
        if self.kind:
            resource["category"] = [self.kind, *resource.get("category", [])]
        self.complete(noted, draft)
        notes = self.notes(noted)
        if notes:
            draft.resource["note"] = notes
            draft.lineage["note"] = noted.notes[0].label
        return self.mapper.keep(draft, ((own["system"], own["value"]),), f"{noted.label}-3")

    def category(self, section: str) -> Json | None:
        """FHIR's broad category for OBR-24's section of the laboratory or department."""
        found = lookup(self.cx.codes["ObservationCategory"], section) if section else None
        if not found or is_unknown(found):
            return None
        return {"coding": [{"system": found[2], "code": found[0], "display": found[1]}]}

    def complete(self, noted: Noted, draft: Draft) -> None:
        """Give what FHIR requires and the message left out, and say so."""
        resource = draft.resource
        if "code" not in resource:
            self.cx.warn("required", "a result that does not say what was observed", f"{noted.label}-3")
            resource["code"] = _UNKNOWN
        if "status" not in resource:
            self.cx.inform("no result status; taken as unknown", f"{noted.label}-11")
            resource["status"] = "unknown"
        if has_value(resource):
            resource.pop("dataAbsentReason", None)

    def specimen_of(self, noted: Noted, specimens: list[Entry]) -> Entry | None:
        """The specimen OBX-33 names, else the only one."""
        pair = one(noted.segment, 33)
        # An empty pair names none.
        for place, kind in ((1, "placer-specimen"), (2, "filler-specimen")) if pair else ():
            number = pair.sub(place)
            wanted = (entity_system(number, self.cx, kind), number.text(1))
            if wanted in self.numbered:
                return self.numbered[wanted]
        return specimens[0] if len(specimens) == 1 else None

    def specimens(self, order: Order, report_key: str, seen: dict[str, int]) -> list[Entry]:
        """SPM → Specimen; without one, OBR-15."""
        if order.specimens:
            return [self.specimen(noted, report_key, seen) for noted in order.specimens]
        if order.obr and one(order.obr.segment, 15):
            return [self.specimen(order.obr, report_key, seen)]
        return []

    def specimen(self, noted: Noted, report_key: str, seen: dict[str, int]) -> Entry:
        """One specimen, known by its numbers, else by its order and type."""
        draft = self.mapper.read(Draft("Specimen"), noted)
        known = [item for item in draft.resource.get("identifier", []) if _is_number(item)]
        if not known:
            kind = one(noted.segment, 4 if noted.segment.id == "SPM" else 15)
            said = kind.code(1) or kind.text(2) if noted.segment.id == "SPM" else kind.sub(1).code(1)
            known = [identity.ordinal(self.cx.systems.own("specimen"), f"{report_key}/{joined(said)}", seen)]
            draft.resource["identifier"] = [*known, *draft.resource.get("identifier", [])]
        draft.resource["subject"] = self.subject
        notes = self.notes(noted) if noted.segment.id == "SPM" else []
        if notes:
            draft.resource["note"] = [*draft.resource.get("note", []), *notes]
        return self.mapper.keep(draft, tuple((item["system"], item["value"]) for item in known), noted.label)

    def report_draft(self, order: Order, numbers: identity.Numbers, own: Json) -> Draft | None:
        """ORC and OBR → DiagnosticReport, but for what its results decide."""
        if order.obr is None:
            return None
        draft = self.mapper.read(Draft("DiagnosticReport"), order.orc, order.obr)
        draft.resource["identifier"] = [own, *numbers.identifiers()]
        draft.resource["subject"] = self.subject
        if self.visit:
            draft.resource["encounter"] = self.visit
        self.cx.segment, self.cx.field = order.obr.label, 25
        said = one(order.obr.segment, 25).code(1)
        found = lookup(self.cx.codes["ResultStatus[Non-Queries]"], said) if said else None
        if is_unknown(found):
            self.cx.warn("code-invalid", f"report status {said!r} is not in table 0123")
        elif found:
            draft.set(self.cx, "status", found[0])
        return draft

    def finish_report(
        self, order: Order, report: Draft | None, request: Entry | None, specimens: list[Entry], results: list[Entry]
    ) -> None:
        """Complete the report with what it refers to."""
        if report is None or order.obr is None:
            return
        resource = report.resource
        if "status" not in resource:
            resource["status"] = _status_of(results)
        if "code" not in resource:
            self.cx.warn("required", "a report that does not say what was ordered", f"{order.obr.label}-4")
            resource["code"] = _UNKNOWN
        for name, entries in (("basedOn", [request] if request else []), ("specimen", specimens), ("result", results)):
            if entries:
                resource[name] = [{"reference": entry.full_url} for entry in entries]
        for note in self.notes(order.obr):
            resource.setdefault("extension", []).append({"url": _NOTE, "valueAnnotation": note})
        own = resource["identifier"][0]
        self.mapper.keep(report, ((own["system"], own["value"]),), f"{order.obr.label}-3")

    def request(
        self, order: Order, numbers: identity.Numbers, report: Draft | None, seen: dict[str, int]
    ) -> Entry | None:
        """ORC and OBR → ServiceRequest, where the order has a number."""
        if not (numbers.placer or numbers.filler) or self.mapper.find("OBR", "ServiceRequest") is None:
            return None
        draft = self.mapper.read(Draft("ServiceRequest"), order.orc, order.obr)
        resource = draft.resource
        own = identity.of_request(self.cx, numbers, seen)
        resource["identifier"] = [own, *numbers.identifiers(), *resource.get("identifier", [])]
        resource["subject"] = self.subject
        resource.setdefault("intent", "order")
        if self.visit:
            resource["encounter"] = self.visit
        resource["status"] = self.request_status(order, report)
        notes = self.notes(order.orc) if order.orc else []
        if notes:
            resource["note"] = [*resource.get("note", []), *notes]
        source = order.obr or order.orc
        return self.mapper.keep(draft, ((own["system"], own["value"]),), f"{source.label if source else 'OBR'}-2")

    def request_status(self, order: Order, report: Draft | None) -> str:
        """ORC-5, else ORC-1, else what the report says."""
        orc = order.orc
        for field, table in ((5, "OrderStatus"), (1, "OrderControlCode[ServiceRequest.status]")):
            said = one(orc.segment, field).code(1) if orc else ""
            found = lookup(self.cx.codes[table], said) if said else None
            if is_unknown(found):
                self.cx.warn(
                    "code-invalid", f"code {said!r} is not in table {self.cx.codes[table].table}", f"ORC-{field}"
                )
            elif found:
                return str(found[0])
        return _REQUEST_OF_REPORT.get(report.resource.get("status", "") if report else "", "unknown")

    def attach(self, noted: Noted, report: Draft) -> None:
        """OBX of type ED or RP → presentedForm of the report; withdrawn ones are not shown."""
        self.cx.segment = noted.label
        found = observed.document(noted.segment, self.cx)
        if one(noted.segment, 11).code(1) in ("D", "W"):
            report.removed.append(f"presentedForm[title={observed.title(noted.segment)}]")
        elif found:
            forms = report.resource.setdefault("presentedForm", [])
            forms.append(found)
            report.lineage[f"presentedForm[{len(forms) - 1}]"] = f"{noted.label}-5"

    def notes(self, noted: Noted) -> list[Json]:
        """NTE → annotations; lines without author and time of their own are one text."""
        found: list[Json] = []
        lines: list[str] = []
        for each in noted.notes:
            draft = Draft("Observation")
            self.mapper.notes.apply(self.cx, each.segment, each.label, draft)
            note = draft.resource.get("note", [{}])[0]
            if note.keys() == {"text"}:
                lines.append(note["text"])
            elif "text" in note:
                found += [*_one_text(lines), note]
                lines = []
        return found + _one_text(lines)


def _one_text(lines: list[str]) -> list[Json]:
    return [{"text": "\n".join(lines)[:MAX_STRING]}] if lines else []


def _inherit(draft: Draft, report: Draft) -> None:
    """What an OBX leaves to its OBR: when, what kind, and the time it was made known."""
    resource, whole = draft.resource, report.resource
    if not any(name.startswith("effective") for name in resource):
        for name in ("effectiveDateTime", "effectivePeriod"):
            if name in whole:
                resource[name] = whole[name]
                draft.lineage[name] = report.lineage.get(name, report.lineage.get("effectivePeriod.start", "OBR-7"))
    if "issued" in whole:
        resource["issued"] = whole["issued"]
        draft.lineage["issued"] = report.lineage["issued"]
    if "category" in whole:
        resource["category"] = [*resource.get("category", []), *whole["category"]]
    if "status" not in resource and whole.get("status") in ("final", "preliminary", "registered", "corrected"):
        resource["status"] = whole["status"]


def _status_of(results: list[Entry]) -> str:
    """A report without OBR-25 is as far as its results are."""
    found = {entry.resource["status"] for entry in results} - {"cancelled", "entered-in-error"}
    if not found or "unknown" in found:
        return "unknown"
    if found & _UNDONE:
        return "preliminary" if found <= _UNDONE else "partial"
    return "corrected" if "corrected" in found else "final"


def _is_number(item: Json) -> bool:
    kinds = {coding.get("code") for coding in item.get("type", {}).get("coding", []) if coding.get("system") == V2_0203}
    return "SHIP" not in kinds
