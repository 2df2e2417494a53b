"""Members of the clinic in the six roles, and what each may see at most: said here once more, independently.

What a type of a role is stands in docs/access.md and in the server's own table; whoever widens that one has to widen
this one too, and is asked why.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta

from conformance.structures import STORABLE
from fhir_server.context import Role
from fhir_server.store import people
from tests.needs import verdict
from tests.security.world import Principal, Row, World

_DIRECTORY = """Practitioner PractitionerRole Organization OrganizationAffiliation Location HealthcareService Endpoint
InsurancePlan Medication MedicationKnowledge Substance DeviceDefinition SpecimenDefinition ObservationDefinition"""
_KNOWLEDGE = """ActivityDefinition CapabilityStatement ChargeItemDefinition CodeSystem CompartmentDefinition ConceptMap
EventDefinition GraphDefinition ImplementationGuide Library Measure MessageDefinition NamingSystem OperationDefinition
PlanDefinition Questionnaire SearchParameter StructureDefinition StructureMap TerminologyCapabilities ValueSet"""
_MONEY = """Account ChargeItem Claim ClaimResponse Coverage CoverageEligibilityRequest CoverageEligibilityResponse
EnrollmentRequest EnrollmentResponse ExplanationOfBenefit Invoice PaymentNotice PaymentReconciliation"""
_BILLABLE = """Condition DiagnosticReport DocumentReference Encounter ImagingStudy Immunization Observation Procedure
ServiceRequest"""
_APART = "AuditEvent Bundle Group Linkage MessageHeader OperationOutcome Parameters Subscription Binary"
DIRECTORY, KNOWLEDGE = frozenset(_DIRECTORY.split()), frozenset(_KNOWLEDGE.split())
MONEY, BILLABLE, APART = frozenset(_MONEY.split()), frozenset(_BILLABLE.split()), frozenset(_APART.split())
PEOPLE, CALENDAR = frozenset(("Patient", "RelatedPerson", "Person")), frozenset(("Schedule", "Slot"))
VISITS, LEGAL = frozenset(("Appointment", "AppointmentResponse")), frozenset(("Consent", "Contract", "EpisodeOfCare"))
CLINICAL = frozenset(STORABLE) - DIRECTORY - KNOWLEDGE - MONEY - APART - PEOPLE - CALENDAR - VISITS - LEGAL
_OF_CARE = PEOPLE | VISITS | CLINICAL | LEGAL | {"Account", "ChargeItem", "Claim", "Coverage", "Invoice"}
NAMES: tuple[Role, ...] = ("super-admin", "clinic-admin", "physician", "biller", "front-desk", "attorney")


def _open(row: Row) -> bool:
    """Tell whether all staff may see it: it is of no patient, or of the calendar."""
    return row.type in DIRECTORY | KNOWLEDGE | CALENDAR


def _admin(row: Row) -> bool:
    return _open(row) or row.owner != "sealed"


def _physician(row: Row) -> bool:
    own = row.owner == "one" and row.type in _OF_CARE
    return _open(row) or own or (row.owner == "sealed" and row.type in CLINICAL - {"Provenance"})


def _biller(row: Row) -> bool:
    return _open(row) or (
        row.owner != "sealed" and row.type in PEOPLE | MONEY | BILLABLE | {"EpisodeOfCare", "Contract"}
    )


def _front_desk(row: Row) -> bool:
    kinds = PEOPLE | VISITS | LEGAL | {"Coverage", "Account", "Invoice"}
    return _open(row) or (row.owner != "sealed" and row.type in kinds)


def _attorney(row: Row) -> bool:
    return row.type in DIRECTORY or (row.owner == "one" and row.type in ("Patient", "EpisodeOfCare", "Observation"))


def _nothing(_: Row) -> bool:
    return False


_SEES: dict[Role, Callable[[Row], bool]] = {
    "super-admin": _nothing,
    "clinic-admin": _admin,
    "physician": _physician,
    "biller": _biller,
    "front-desk": _front_desk,
    "attorney": _attorney,
}


def _within(role: Role) -> Callable[[Row], bool]:
    """Return what a role sees: its rows here; the number that only attorneys do not see is its patient's to others."""

    def sees(row: Row) -> bool:
        if row.place != "here" or (row.type == "PatientSsn" and role == "attorney"):
            return False
        return _SEES[role](Row(row.place, row.owner, "Patient") if row.type == "PatientSsn" else row)

    return sees


async def members(world: World) -> list[Principal]:
    """Enrol one member in each role: a physician and an attorney of the first patient; return them in that order."""
    # In CI everything is asked; elsewhere half of it by three of the roles, and half by the others.
    every = 1 if verdict(["a machine with time"], os.environ) == "fail" else 2
    return [
        Principal(role, await _token(world, role), _within(role), every=every, first=number % every)
        for number, role in enumerate(NAMES)
    ]


async def _token(world: World, role: Role) -> str:
    db, now = world.concord.db, world.concord.clock()
    person = await people.add(db, f"{role}-{world.here.name}@example.org", role, now)
    reference = "Practitioner/nobody" if role == "physician" else None
    await people.enrol(db, world.here.id, person.id, role, reference, now)
    if role == "physician":
        await _care(world)
    if role == "attorney":
        await _case(world, person.id)
    return await world.token(world.here, "user/*.cruds", subject=person.sub, client="app")


def _key(world: World, place: str) -> int:
    return world.concord.service.hasher.self_key(world.here.id, *place.split("/"))


async def _care(world: World) -> None:
    """Let the physician have treated the first patient since an hour ago."""
    sql = "insert into care_relation (tenant_id, member, patient, kind, valid_from, source) values (%s,%s,%s,%s,%s,1)"
    since = world.concord.clock() - timedelta(hours=1)
    values = (world.here.id, _key(world, "Practitioner/nobody"), _key(world, "Patient/one"), "encounter", since)
    await world.concord.db.fetch(world.here.id, sql, values)


async def _case(world: World, person: int) -> None:
    """Give an attorney the first patient's case, with a live release: a result of it and a sealed one are released."""
    db, here, case = world.concord.db, world.here.id, _key(world, "EpisodeOfCare/one")
    now = world.concord.clock()
    since, until = now - timedelta(hours=1), now + timedelta(days=1)
    named = "insert into case_attorney (tenant_id, case_key, person_id, role, valid_from) values (%s,%s,%s,'lead',%s)"
    await db.fetch(here, named, (here, case, person, since))
    live = (
        "insert into release_of_information (tenant_id, case_key, patient, valid_from, expires) values (%s,%s,%s,%s,%s)"
    )
    await db.fetch(here, live, (here, case, _key(world, "Patient/one"), since, until))
    into = "update resource set cases = array[%s::bigint], released_at = %s where tenant_id = %s and self_key = %s"
    released = {"Observation/one": now, "Observation/sealed": now, "Condition/one": None, "Observation/two": None}
    for place, moment in released.items():
        await db.fetch(here, into, (case, moment, here, _key(world, place)))
