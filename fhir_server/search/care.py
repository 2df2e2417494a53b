"""What a resource says of care: the encounters, orders and cases it belongs to, and who cares for whom, when.

Nothing is guessed: what a resource does not say is not there. http://hl7.org/fhir/R4/encounter.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from fhir_server.search.date import BEGINNING, FOREVER, interval
from fhir_server.search.hashing import Hasher
from fhir_server.search.reference import Place

EPISODE, ENCOUNTER = "EpisodeOfCare", "Encounter"
# What a result or a document is ordered by. An order has no order of its own here: its encounter tells its case.
ORDERS = ("DeviceRequest", "MedicationRequest", "NutritionOrder", "ServiceRequest", "VisionPrescription")
# What others belong to a case through.
CARRIERS = (EPISODE, ENCOUNTER, *ORDERS)
ACCIDENT = "urn:concord:StructureDefinition:accident"
# Links to an encounter or a case come first; one to an order counts where there is no case by those.
BY_ENCOUNTER, BY_ORDER = 1, 2

_DAY = len("2026-03-01")

Link = tuple[int, int]
_Read = Callable[[Any], Iterator[Any]]


def salts(hasher: Hasher, tenant_id: int) -> tuple[int, int]:
    """Return the salts under which links to encounters and to orders stand among a row's keys, in every type."""
    return hasher.salt(tenant_id, "", "case:encounter"), hasher.salt(tenant_id, "", "case:order")


def links(place: Place, resource_type: str, resource: Any) -> list[Link]:
    """Return (self_key, BY_ENCOUNTER or BY_ORDER) of all that tells which case a resource is of."""
    found: dict[Link, None] = {}
    for tier, read in _PATHS.get(resource_type, _ANY):
        for value in read(resource):
            if value is UNSET or value.reference is UNSET or not (target := place.local(value.reference)):
                continue
            if (target.type in ORDERS) if tier == BY_ORDER else target.type in (EPISODE, ENCOUNTER):
                found[place.self_key(target), tier] = None
    return list(found)


def _one(*names: str) -> _Read:
    """Return what reads the references at a path of elements, each of which may be absent, single or a list."""

    def read(resource: Any) -> Iterator[Any]:
        values = [resource]
        for name in names:
            found = [getattr(value, name, UNSET) for value in values]
            values = [one for value in found for one in (value if isinstance(value, list) else [value])]
            values = [one for one in values if one is not UNSET]
        yield from values

    return read


_ENCOUNTER = ((BY_ENCOUNTER, _one("encounter")),)
_CONTEXT = ((BY_ENCOUNTER, _one("context")),)
_BASED_ON = (*_ENCOUNTER, (BY_ORDER, _one("basedOn")))
_ANY: tuple[tuple[int, _Read], ...] = ()
_PATHS: dict[str, tuple[tuple[int, _Read], ...]] = {
    ENCOUNTER: ((BY_ENCOUNTER, _one("episodeOfCare")),),
    **dict.fromkeys(ORDERS, _ENCOUNTER),
    **dict.fromkeys(
        (
            "AdverseEvent",
            "AllergyIntolerance",
            "ClinicalImpression",
            "Composition",
            "Condition",
            "Flag",
            "GuidanceResponse",
            "Immunization",
            "List",
            "RiskAssessment",
        ),
        _ENCOUNTER,
    ),
    **dict.fromkeys(
        (
            "CarePlan",
            "CareTeam",
            "Communication",
            "CommunicationRequest",
            "DiagnosticReport",
            "ImagingStudy",
            "Media",
            "Observation",
            "Procedure",
            "QuestionnaireResponse",
            "RequestGroup",
            "Task",
        ),
        _BASED_ON,
    ),
    "ChargeItem": _CONTEXT,
    "MedicationStatement": (*_CONTEXT, (BY_ORDER, _one("basedOn"))),
    "MedicationAdministration": (*_CONTEXT, (BY_ORDER, _one("request"))),
    "MedicationDispense": (*_CONTEXT, (BY_ORDER, _one("authorizingPrescription"))),
    "Specimen": ((BY_ORDER, _one("request")),),
    "Claim": ((BY_ENCOUNTER, _one("item", "encounter")),),
    "ExplanationOfBenefit": ((BY_ENCOUNTER, _one("item", "encounter")),),
    "DocumentReference": (
        (BY_ENCOUNTER, _one("context", "encounter")),
        (BY_ENCOUNTER, _one("context", "related")),
        (BY_ORDER, _one("context", "related")),
    ),
    "DocumentManifest": ((BY_ENCOUNTER, _one("related", "ref")), (BY_ORDER, _one("related", "ref"))),
}
# Types of which a row may belong to a case by what it says.
LINKED = frozenset((*_PATHS, EPISODE))


class Case(msgspec.Struct, frozen=True):
    """What an EpisodeOfCare says of its case; `patient` is a self_key."""

    patient: int | None
    status: str
    number: str | None = None
    type: str | None = None
    accident_date: date | None = None
    accident_state: str | None = None


def case_of(place: Place, episode: Any) -> Case:
    """Return the case that an EpisodeOfCare is."""
    when, state = _accident(episode)
    numbers = [one.value for one in _listed(episode.identifier) if one.value is not UNSET]
    types = [code.code for one in _listed(episode.type) for code in _listed(one.coding) if code.code is not UNSET]
    status = "unknown" if episode.status is UNSET else str(episode.status)
    return Case(_key(place, episode.patient, "Patient"), status, *_first(numbers), *_first(types), when, state)


def _first(values: list[str]) -> tuple[str | None]:
    return (values[0] if values else None,)


def _listed(value: Any) -> list[Any]:
    return [] if value is UNSET else list(value)


def _accident(episode: Any) -> tuple[date | None, str | None]:
    """Return day and state of the accident, from the extension that R4 has no element for."""
    when: date | None = None
    state: str | None = None
    for outer in _listed(episode.extension):
        for one in _listed(outer.extension) if outer.url == ACCIDENT else []:
            if one.url == "date" and one.valueDate is not UNSET:
                when = interval(one.valueDate)[0].date()
            elif one.url == "state" and one.valueCode is not UNSET:
                state = one.valueCode
    return when, state


def _key(place: Place, value: Any, *types: str) -> int | None:
    if value is UNSET or value.reference is UNSET:
        return None
    target = place.local(value.reference)
    return place.self_key(target) if target and target.type in types else None


class Windows(msgspec.Struct, frozen=True):
    """How far beyond an appointment and after an encounter a physician is still one of the patient's."""

    before_appointment: timedelta
    after_appointment: timedelta
    after_encounter: timedelta


class Relation(msgspec.Struct, frozen=True):
    """A practitioner cares for a patient; `member` is the self_key of a Practitioner, of its role where `by_role`."""

    member: int
    by_role: bool
    patient: int
    kind: Literal["encounter", "appointment"]
    valid_from: datetime
    valid_to: datetime | None


def relations(place: Place, resource_type: str, resource: Any, now: datetime, windows: Windows) -> list[Relation]:
    """Return who cares for whom by an Encounter or an Appointment; none by any other."""
    if resource_type == ENCOUNTER:
        found = _encounter(place, resource, now, windows)
    elif resource_type == "Appointment":
        found = _appointment(place, resource, windows)
    else:
        return []
    # One of a participant and a moment, the longest of them.
    best: dict[tuple[int, int, datetime], Relation] = {}
    for one in found:
        key = (one.member, one.patient, one.valid_from)
        if key not in best or _end(one.valid_to) > _end(best[key].valid_to):
            best[key] = one
    return list(best.values())


def _end(moment: datetime | None) -> datetime:
    return FOREVER if moment is None else moment


def _practitioner(place: Place, value: Any) -> tuple[int, bool] | None:
    if (key := _key(place, value, "Practitioner")) is not None:
        return key, False
    if (key := _key(place, value, "PractitionerRole")) is not None:
        return key, True
    return None


def _period(value: Any) -> tuple[datetime, datetime]:
    """Return start and end of a Period, as far back and forth as time goes where it says none.

    A day counts to its end, a moment only to itself: what ended now has ended.
    """
    if value is UNSET:
        return BEGINNING, FOREVER
    start = BEGINNING if value.start is UNSET else interval(value.start)[0]
    if value.end is UNSET:
        return start, FOREVER
    return start, interval(value.end)[len(value.end) <= _DAY]


def _encounter(place: Place, encounter: Any, now: datetime, windows: Windows) -> Iterator[Relation]:
    """Who left with the encounter stays for a while; who left before it ended is out at that moment."""
    patient = _key(place, encounter.subject, "Patient")
    if patient is None or encounter.status in ("cancelled", "entered-in-error"):
        return
    begins, ends = _period(encounter.period)
    if ends == FOREVER and encounter.status == "finished":
        ends = now
    for participant in _listed(encounter.participant):
        who = _practitioner(place, participant.individual)
        if who is None:
            continue
        start, end = _period(participant.period)
        first = max(start, begins)
        last = end if end < ends else _later(ends, windows.after_encounter)
        yield Relation(*who, patient, "encounter", now if first == BEGINNING else first, last)


def _later(moment: datetime, by: timedelta) -> datetime | None:
    return None if moment >= FOREVER - by else moment + by


# What was booked, or is about to be: neither proposed nor waited for, and not called off.
_BOOKED = frozenset(("pending", "booked", "arrived", "fulfilled", "checked-in"))


def _appointment(place: Place, appointment: Any, windows: Windows) -> Iterator[Relation]:
    if appointment.status not in _BOOKED or appointment.start is UNSET:
        return
    begins = interval(appointment.start)[0]
    ends = begins if appointment.end is UNSET else max(begins, interval(appointment.end)[0])
    actors = [one.actor for one in _listed(appointment.participant) if one.status != "declined"]
    patients = [key for actor in actors if (key := _key(place, actor, "Patient")) is not None]
    for actor in actors:
        if (who := _practitioner(place, actor)) is not None:
            for patient in patients:
                start, end = begins - windows.before_appointment, _later(ends, windows.after_appointment)
                yield Relation(*who, patient, "appointment", start, end)
