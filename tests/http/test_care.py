"""Who cares for whom: by Encounters and Appointments, from the write on and for as long as they say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fhir import Client
from tests.http.belonging import encounter, patient, put, relations

DOCTOR = {"reference": "Practitioner/dr"}
START, END = "2026-03-02T09:00:00Z", "2026-03-02T10:00:00Z"
BEGAN, ENDED = datetime(2026, 3, 2, 9, tzinfo=UTC), datetime(2026, 3, 2, 10, tzinfo=UTC)
AFTER = timedelta(days=180)


async def appointment(client: Client, status: str = "booked", doctor: str = "accepted", **more: Any) -> None:
    actors = [
        {"actor": {"reference": "Patient/p"}, "status": "accepted"},
        {"actor": DOCTOR, "status": doctor},
    ]
    await put(
        client, "Appointment", "a", **{"status": status, "participant": actors, "start": START, "end": END, **more}
    )


async def test_who_takes_part_in_an_encounter_cares_for_its_patient(fhir: Client) -> None:
    await encounter(fhir, "e", participant=[{"individual": DOCTOR}], period={"start": START})
    assert await relations(fhir, "Practitioner/dr") == [("encounter", BEGAN, None)]


async def test_care_outlasts_the_encounter_for_who_stayed_to_its_end(fhir: Client) -> None:
    await encounter(fhir, "e", participant=[{"individual": DOCTOR}], period={"start": START, "end": END})
    assert await relations(fhir, "Practitioner/dr") == [("encounter", BEGAN, ENDED + AFTER)]


async def test_an_encounter_that_finished_without_a_date_ends_with_its_write(fhir: Client) -> None:
    before = datetime.now(UTC)
    await encounter(fhir, "e", status="finished", participant=[{"individual": DOCTOR}], period={"start": START})
    ((_, _, until),) = await relations(fhir, "Practitioner/dr")
    assert before - timedelta(seconds=1) <= until - AFTER <= datetime.now(UTC)


async def test_who_leaves_the_team_cares_no_more_from_that_moment(fhir: Client) -> None:
    left = "2026-03-02T09:30:00Z"
    team = [{"individual": DOCTOR, "period": {"end": left}}]
    await encounter(fhir, "e", participant=team, period={"start": START})
    assert await relations(fhir, "Practitioner/dr") == [("encounter", BEGAN, BEGAN + timedelta(minutes=30))]


async def test_who_is_taken_out_of_the_encounter_cares_no_more(fhir: Client) -> None:
    await encounter(fhir, "e", participant=[{"individual": DOCTOR}], period={"start": START})
    await encounter(fhir, "e", period={"start": START})
    assert await relations(fhir, "Practitioner/dr") == []


@pytest.mark.parametrize("status", ["cancelled", "entered-in-error"])
async def test_an_encounter_that_never_was_tells_of_no_care(fhir: Client, status: str) -> None:
    await encounter(fhir, "e", participant=[{"individual": DOCTOR}], period={"start": START})
    await encounter(fhir, "e", status=status, participant=[{"individual": DOCTOR}], period={"start": START})
    assert await relations(fhir, "Practitioner/dr") == []


async def test_care_goes_with_its_encounter(fhir: Client) -> None:
    await encounter(fhir, "e", participant=[{"individual": DOCTOR}], period={"start": START})
    await fhir.delete("/Encounter/e")
    assert await relations(fhir, "Practitioner/dr") == []


async def test_an_encounter_that_changes_its_patient_takes_care_along(fhir: Client) -> None:
    await encounter(fhir, "e", participant=[{"individual": DOCTOR}], period={"start": START})
    await encounter(fhir, "e", of="q", participant=[{"individual": DOCTOR}], period={"start": START})
    assert await relations(fhir, "Practitioner/dr") == []
    assert len(await relations(fhir, "Practitioner/dr", of="q")) == 1


async def test_a_role_stands_for_its_practitioner(fhir: Client) -> None:
    await put(fhir, "Practitioner", "dr")
    await put(fhir, "PractitionerRole", "role", practitioner=DOCTOR)
    await encounter(
        fhir, "e", participant=[{"individual": {"reference": "PractitionerRole/role"}}], period={"start": START}
    )
    assert len(await relations(fhir, "Practitioner/dr")) == 1


async def test_an_appointment_makes_care_some_days_before_and_after(fhir: Client) -> None:
    await appointment(fhir)
    window = ("appointment", BEGAN - timedelta(days=7), ENDED + timedelta(days=30))
    assert await relations(fhir, "Practitioner/dr") == [window]


@pytest.mark.parametrize("status", ["proposed", "waitlist", "cancelled", "noshow", "entered-in-error"])
async def test_an_appointment_that_is_not_kept_makes_none(fhir: Client, status: str) -> None:
    await appointment(fhir)
    await appointment(fhir, status)
    assert await relations(fhir, "Practitioner/dr") == []


async def test_who_declined_an_appointment_does_not_care(fhir: Client) -> None:
    await appointment(fhir, doctor="declined")
    assert await relations(fhir, "Practitioner/dr") == []


async def test_care_in_one_clinic_is_none_in_another(fhir: Client, other: Client) -> None:
    await patient(other)
    await encounter(fhir, "e", participant=[{"individual": DOCTOR}], period={"start": START})
    assert await relations(other, "Practitioner/dr") == []
    rows = await other.concord.db.fetch(other.tenant_id, "select count(*) from care_relation")
    assert rows == [(0,)]


async def test_a_write_that_is_refused_tells_of_no_care(fhir: Client) -> None:
    entries = [
        {
            "resource": {
                "resourceType": "Encounter",
                "status": "in-progress",
                "class": {"code": "AMB"},
                "subject": {"reference": "Patient/p"},
                "participant": [{"individual": DOCTOR}],
            },
            "request": {"method": "POST", "url": "Encounter"},
        },
        {"resource": {"resourceType": "Patient", "gender": "?"}, "request": {"method": "POST", "url": "Patient"}},
    ]
    answer = await fhir.post("/", json={"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert answer.status_code == 400
    assert await relations(fhir, "Practitioner/dr") == []
