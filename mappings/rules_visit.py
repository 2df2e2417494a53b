"""Functions that rows of PV1 name: the status of a visit.

https://hl7.org/fhir/R4/encounter.html
"""

from __future__ import annotations

from mappings import coded
from mappings.context import Context
from mappings.hl7v2 import Segment
from mappings.mapped import Json
from mappings.rules_patient import one
from mappings.table import Draft

# what the event says, whatever the class: events that begin, end or undo a visit
_EVENTS = {
    "A03": "finished",
    "A05": "planned",
    "A14": "planned",
    "A10": "arrived",
    "A11": "cancelled",
    "A27": "cancelled",
    "A38": "cancelled",
    "A13": "in-progress",
}
# events that say by their happening that the visit goes on; any other leaves its status as it was
_MOVES = frozenset({"A01", "A02", "A04", "A06", "A07", "A09", "A12"})
_OVER = ("finished", "cancelled")
_UNKNOWN_CLASS = {"system": "http://terminology.hl7.org/CodeSystem/v3-NullFlavor", "code": "UNK", "display": "unknown"}


def encounter_status(cx: Context, segment: Segment, draft: Draft) -> None:
    """The event decides; else a discharge time says it is over; else the class of the patient."""
    cx.field = 2
    resource = draft.resource
    said = one(segment, 2).code(1)
    by_class = coded.lookup(cx.codes["PatientClass[EncounterStatus]"], said) if said else None
    status = _EVENTS.get(cx.trigger)
    if status is None and "end" in resource.get("period", {}):
        status = "finished"
    if status is None:
        status = "unknown" if by_class is None or coded.is_unknown(by_class) else by_class[0]
        if cx.trigger not in _MOVES:
            draft.keep.append("status")
    draft.set(cx, "status", status)
    if "class" not in resource:
        draft.set(cx, "class", _UNKNOWN_CLASS)
    if cx.trigger == "A13":
        draft.removed.append("period.end")
        resource.get("period", {}).pop("end", None)
    _settle_locations(resource, over=status in _OVER)


def _settle_locations(resource: Json, *, over: bool) -> None:
    """A place that is both prior and assigned is assigned; a visit that is over is nowhere any more."""
    locations = resource.get("location", [])
    current = [item["location"]["reference"] for item in locations if item["status"] != "completed"]
    kept = [item for item in locations if item["status"] != "completed" or item["location"]["reference"] not in current]
    for item in kept:
        if over and item["status"] == "active":
            item["status"] = "completed"
    if kept:
        resource["location"] = kept
    if not resource.get("period", {"kept": 1}):
        del resource["period"]
