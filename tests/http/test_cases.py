"""Which case a resource belongs to: by its encounter, else by its order, else by a person; never guessed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fhir_server.context import Tenant
from fhir_server.interactions.reindex import reindex
from tests.fhir import Client
from tests.http.belonging import cases, encounter, episode, observation, order, patient, put, relations, report
from tests.http.parameters import worked


async def test_an_episode_of_care_is_a_case(fhir: Client) -> None:
    await patient(fhir)
    await episode(fhir)
    assert await cases(fhir, "EpisodeOfCare/case") == ["case"]


async def test_the_case_keeps_what_the_episode_says(fhir: Client) -> None:
    accident = {
        "url": "urn:concord:StructureDefinition:accident",
        "extension": [{"url": "date", "valueDate": "2026-01-15"}, {"url": "state", "valueCode": "FL"}],
    }
    await episode(
        fhir,
        extension=[accident],
        identifier=[{"system": "urn:cases", "value": "C-7"}],
        type=[{"coding": [{"system": "urn:kinds", "code": "auto"}]}],
    )
    sql = "select id, number, type, accident_date::text, accident_state, status from clinic_case"
    assert await fhir.concord.db.fetch(fhir.tenant_id, sql) == [("case", "C-7", "auto", "2026-01-15", "FL", "active")]


async def test_what_happens_in_an_encounter_of_an_episode_belongs_to_its_case(fhir: Client) -> None:
    await patient(fhir)
    await episode(fhir)
    await encounter(fhir, "e", "case")
    await observation(fhir)
    assert await cases(fhir, "Encounter/e") == ["case"]
    assert await cases(fhir, "Observation/o") == ["case"]


async def test_nothing_is_guessed_even_with_one_case_open(fhir: Client) -> None:
    await patient(fhir)
    await episode(fhir)
    await encounter(fhir, "e")
    await observation(fhir)
    await observation(fhir, "loose", in_=None)
    for reference in ("Encounter/e", "Observation/o", "Observation/loose", "Patient/p"):
        assert await cases(fhir, reference) == []


async def test_a_result_belongs_to_the_case_of_its_order(fhir: Client) -> None:
    await patient(fhir)
    await episode(fhir)
    await encounter(fhir, "e", "case")
    await order(fhir)
    await report(fhir)
    assert await cases(fhir, "DiagnosticReport/r") == ["case"]


async def test_its_own_encounter_tells_before_its_order(fhir: Client) -> None:
    await patient(fhir)
    await episode(fhir, "one")
    await episode(fhir, "two")
    await encounter(fhir, "first", "one")
    await encounter(fhir, "second", "two")
    await order(fhir, in_="first")
    await observation(fhir, "o", "second", basedOn=[{"reference": "ServiceRequest/s"}])
    assert await cases(fhir, "Observation/o") == ["two"]


async def test_an_encounter_of_two_episodes_is_in_both_cases(fhir: Client) -> None:
    await patient(fhir)
    await episode(fhir, "one")
    await episode(fhir, "two")
    await encounter(fhir, "e", "one", "two")
    await observation(fhir)
    assert await cases(fhir, "Observation/o") == ["one", "two"]


async def test_a_document_of_encounters_of_different_cases_is_in_none_but_what_they_share(fhir: Client) -> None:
    await patient(fhir)
    for name in ("one", "two"):
        await episode(fhir, name)
        await encounter(fhir, name, name)
    await encounter(fhir, "both", "one", "two")
    for id_, encounters in {"apart": ("one", "two"), "shared": ("one", "both")}.items():
        await put(
            fhir,
            "DocumentReference",
            id_,
            status="current",
            subject={"reference": "Patient/p"},
            content=[{"attachment": {"title": "note"}}],
            context={"encounter": [{"reference": f"Encounter/{one}"} for one in encounters]},
        )
    assert await cases(fhir, "DocumentReference/apart") == []
    assert await cases(fhir, "DocumentReference/shared") == ["one"]


async def test_a_case_never_reaches_another_patients_records(fhir: Client) -> None:
    await patient(fhir)
    await patient(fhir, "q")
    await episode(fhir)
    await encounter(fhir, "e", "case")
    await encounter(fhir, "strange", "case", of="q")
    await observation(fhir, "odd", in_="e", of="q")
    assert await cases(fhir, "Encounter/strange") == []
    assert await cases(fhir, "Observation/odd") == []


async def test_dependents_follow_when_the_encounter_gets_its_episode(fhir: Client) -> None:
    await patient(fhir)
    await episode(fhir)
    await encounter(fhir, "e")
    await observation(fhir)
    await order(fhir)
    await report(fhir)
    await encounter(fhir, "e", "case")
    for reference in ("Encounter/e", "Observation/o", "ServiceRequest/s", "DiagnosticReport/r"):
        assert await cases(fhir, reference) == ["case"], reference


async def test_dependents_follow_when_the_encounter_moves_or_leaves(fhir: Client) -> None:
    await patient(fhir)
    await episode(fhir, "one")
    await episode(fhir, "two")
    await encounter(fhir, "e", "one")
    await order(fhir)
    await report(fhir)
    await encounter(fhir, "e", "two")
    assert await cases(fhir, "DiagnosticReport/r") == ["two"]
    await encounter(fhir, "e")
    assert await cases(fhir, "DiagnosticReport/r") == []


@pytest.mark.parametrize("gone", ["Encounter/e", "EpisodeOfCare/case", "ServiceRequest/s"])
async def test_what_hung_on_something_deleted_is_in_no_case(fhir: Client, gone: str) -> None:
    await patient(fhir)
    await episode(fhir)
    await encounter(fhir, "e", "case")
    await order(fhir)
    await report(fhir)
    assert (await fhir.delete(f"/{gone}")).status_code == 204
    assert await cases(fhir, "DiagnosticReport/r") == []
    assert await cases(fhir, gone) == []


async def test_the_order_in_which_things_come_makes_no_difference(fhir: Client) -> None:
    await patient(fhir)
    await report(fhir)
    await order(fhir)
    await observation(fhir)
    await encounter(fhir, "e", "case")
    assert await cases(fhir, "Encounter/e") == []
    await episode(fhir)
    for reference in ("Encounter/e", "Observation/o", "ServiceRequest/s", "DiagnosticReport/r"):
        assert await cases(fhir, reference) == ["case"], reference


async def test_a_bundle_settles_everything_in_its_transaction(fhir: Client) -> None:
    subject = {"reference": "urn:uuid:00000000-0000-4000-8000-000000000001"}
    at = {"reference": "urn:uuid:00000000-0000-4000-8000-000000000003"}
    resources: list[tuple[int, dict[str, Any]]] = [
        (4, {"resourceType": "Observation", "status": "final", "code": {}, "subject": subject, "encounter": at}),
        (
            3,
            {
                "resourceType": "Encounter",
                "status": "finished",
                "class": {"code": "AMB"},
                "subject": subject,
                "episodeOfCare": [{"reference": "urn:uuid:00000000-0000-4000-8000-000000000002"}],
            },
        ),
        (2, {"resourceType": "EpisodeOfCare", "status": "active", "patient": subject}),
        (1, {"resourceType": "Patient"}),
    ]
    resources[0][1]["code"] = {"text": "knee"}
    entries = [
        {
            "fullUrl": f"urn:uuid:00000000-0000-4000-8000-00000000000{number}",
            "resource": resource,
            "request": {"method": "POST", "url": resource["resourceType"]},
        }
        for number, resource in resources
    ]
    answer = await fhir.post("/", json={"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert answer.status_code == 200, answer.text
    rows = await fhir.concord.db.fetch(fhir.tenant_id, "select count(*), count(cases) from resource")
    assert rows == [(4, 3)]


async def test_another_clinics_case_of_the_same_id_is_another_case(fhir: Client, other: Client) -> None:
    for client in (fhir, other):
        await patient(client)
    await episode(other)
    await encounter(fhir, "e", "case")
    assert await cases(fhir, "Encounter/e") == []


async def test_writers_of_results_and_of_the_encounter_never_miss_each_other(fhir: Client) -> None:
    await patient(fhir)
    await episode(fhir)
    await encounter(fhir, "e")
    names = [f"o{n}" for n in range(24)]

    async def results() -> None:
        for start in range(0, len(names), 4):
            await asyncio.gather(*(observation(fhir, name) for name in names[start : start + 4]))

    await asyncio.gather(results(), encounter(fhir, "e", "case"))
    for name in names:
        assert await cases(fhir, f"Observation/{name}") == ["case"], name


async def test_what_was_stored_before_gets_its_case_by_an_index_made_anew(fhir: Client) -> None:
    await patient(fhir)
    await episode(fhir)
    await encounter(fhir, "e", "case", participant=[{"individual": {"reference": "Practitioner/dr"}}])
    await observation(fhir)
    for forget in (
        "update resource set cases = null, keys = keys[1:1]",
        "delete from clinic_case",
        "delete from care_relation",
    ):
        await fhir.concord.db.fetch(fhir.tenant_id, f"{forget} where tenant_id = %s", (fhir.tenant_id,))
    await reindex(fhir.concord.service, Tenant(fhir.tenant_id, fhir.tenant), fhir.clock())
    await worked(fhir)
    assert await cases(fhir, "Observation/o") == ["case"]
    assert len(await relations(fhir, "Practitioner/dr")) == 1
