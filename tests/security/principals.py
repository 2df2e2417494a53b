"""Whoever asks, and what each may see at most: said here once more, independently of the server's rules."""

from __future__ import annotations

from tests.security.world import Principal, Row, World

# What a patient's app sees of the clinic itself (docs/fhir.md).
SHARED = frozenset(
    ("Practitioner", "PractitionerRole", "Organization", "Location", "Medication", "HealthcareService", "Endpoint")
)
NAMES = ("nobody", "forged", "elsewhere", "patient", "narrow patient", "narrow system", "system")


def _nothing(_: Row) -> bool:
    return False


def _here(row: Row) -> bool:
    return row.place == "here"


def _own(row: Row) -> bool:
    return row.place == "here" and (row.owner in ("one", "sealed") or row.type in SHARED)


async def principals(world: World) -> list[Principal]:
    """Return everybody of NAMES, in that order."""
    here, there = world.here, world.there
    whole = await world.token(here, "system/*.cruds")
    patient = await world.token(here, "patient/*.cruds", patient="one")
    few = await world.token(here, "patient/Patient.rs patient/Observation.rs", patient="one")
    narrow = await world.token(here, "system/Observation.rs")
    return [
        Principal("nobody", None, _nothing, every=7),
        Principal("forged", f"{whole[:-8]}AAAAAAAA", _nothing, every=7),
        Principal("elsewhere", await world.token(there, "system/*.cruds"), _nothing, every=7),
        Principal("patient", patient, _own),
        Principal(
            "narrow patient", few, lambda row: _own(row) and row.type in ("Patient", "PatientSsn", "Observation")
        ),
        Principal("narrow system", narrow, lambda row: _here(row) and row.type == "Observation"),
        Principal("system", whole, _here, reads=True),
    ]
