"""$everything of a patient and of an encounter. http://hl7.org/fhir/R4/patient-operation-everything.html"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.fhir import Client

CODE = {"text": "x"}


class Record:
    """A patient with an encounter, observations, a condition, and those who took part."""

    def __init__(self, fhir: Client) -> None:
        self.fhir = fhir

    async def make(self, kind: str, **elements: Any) -> str:
        answer = await self.fhir.post(f"/{kind}", json={"resourceType": kind, **elements})
        assert answer.status_code == 201, answer.text
        return f"{kind}/{answer.json()['id']}"

    async def fill(self) -> Record:
        self.organization = await self.make("Organization", name="Clinic")
        self.doctor = await self.make("Practitioner", name=[{"family": "Lee"}])
        self.room = await self.make("Location", name="Room 1")
        self.medication = await self.make("Medication", code=CODE)
        self.stranger = await self.make("Practitioner", name=[{"family": "Elsewhere"}])
        self.patient = await self.make("Patient", managingOrganization={"reference": self.organization})
        subject = {"reference": self.patient}
        self.encounter = await self.make(
            "Encounter",
            status="finished",
            **{"class": {"code": "AMB"}},
            subject=subject,
            period={"start": "2024-03-01", "end": "2024-03-01"},
            location=[{"location": {"reference": self.room}}],
            participant=[{"individual": {"reference": self.doctor}}],
        )
        self.old, self.new = [
            await self.make(
                "Observation",
                status="final",
                code=CODE,
                subject=subject,
                effectiveDateTime=f"{year}-05-01",
                performer=[{"reference": self.doctor}],
                **({"encounter": {"reference": self.encounter}} if year == 2024 else {}),
            )
            for year in (2019, 2024)
        ]
        self.request = await self.make(
            "MedicationRequest",
            status="active",
            intent="order",
            subject=subject,
            medicationReference={"reference": self.medication},
        )
        self.coverage = await self.make(
            "Coverage", status="active", beneficiary=subject, payor=[{"reference": self.organization}]
        )
        return self

    @property
    def members(self) -> set[str]:
        return {self.patient, self.encounter, self.old, self.new, self.request, self.coverage}

    @property
    def others(self) -> set[str]:
        return {self.organization, self.doctor, self.room, self.medication}


@pytest.fixture
async def record(fhir: Client) -> Record:
    await Record(fhir).fill()  # another patient's, of which nothing may be seen
    return await Record(fhir).fill()


def found(answer: httpx.Response) -> dict[str, str]:
    """Return the mode of each resource, by its reference."""
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert page["type"] == "searchset"
    names = [f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in page.get("entry", [])]
    assert len(names) == len(set(names))
    return {name: e["search"]["mode"] for name, e in zip(names, page.get("entry", []), strict=True)}


def following(answer: httpx.Response) -> str:
    return next((x["url"] for x in answer.json()["link"] if x["relation"] == "next"), "")


async def pages(fhir: Client, path: str, **more: Any) -> list[dict[str, str]]:
    """Return all pages."""
    answer = await fhir.get(path, **more)
    all_of = [found(answer)]
    while url := following(answer):
        answer = await fhir.get(url.removeprefix(fhir.base), **more)
        all_of.append(found(answer))
    return all_of


async def test_the_patient_its_compartment_and_what_they_refer_to(fhir: Client, record: Record) -> None:
    modes = found(await fhir.get(f"/{record.patient}/$everything"))
    assert modes == dict.fromkeys(record.members, "match") | dict.fromkeys(record.others, "include")
    assert next(iter(modes)) == record.patient
    assert found(await fhir.post(f"/{record.patient}/$everything", json={"resourceType": "Parameters"})) == modes


@pytest.mark.parametrize("count", [1, 3, 4])
async def test_pages_hold_each_resource_once(fhir: Client, record: Record, count: int) -> None:
    seen = await pages(fhir, f"/{record.patient}/$everything?_count={count}")
    assert all(len(page) == count for page in seen[:-1])
    names = [name for page in seen for name in page]
    assert sorted(names) == sorted(record.members | record.others)


async def test_a_page_is_not_disturbed_by_writes_between(fhir: Client, record: Record) -> None:
    first = await fhir.get(f"/{record.patient}/$everything?_count=3")
    kept = (await fhir.get(f"/{record.old}")).json()
    assert (await fhir.put(f"/{record.old}", json=kept | {"status": "amended"})).status_code == 200
    assert (await fhir.put(f"/{record.patient}", json={"resourceType": "Patient", "id": record.patient[8:]})).is_success
    names = [*found(first)]
    while url := following(first):
        first = await fhir.get(url.removeprefix(fhir.base))
        names += found(first)
    assert len(names) == len(set(names))
    assert set(names) >= record.members


async def test_start_and_end_are_of_care(fhir: Client, record: Record) -> None:
    undated = {record.patient, record.request, record.coverage}
    for query, wanted in (
        ("start=2024-01-01", {record.encounter, record.new}),
        ("end=2019-12-31", {record.old}),
        ("start=2019-05-01&end=2019-05-01", {record.old}),
        ("start=2024-04-01&end=2024-04-30", set()),
    ):
        modes = found(await fhir.get(f"/{record.patient}/$everything?{query}"))
        assert {n for n, mode in modes.items() if mode == "match"} == undated | wanted, query
    assert record.doctor not in modes


async def test_types_and_since_narrow_what_is_returned(fhir: Client, record: Record) -> None:
    path = f"/{record.patient}/$everything"
    assert set(found(await fhir.get(f"{path}?_type=Observation,Practitioner"))) == {
        record.old,
        record.new,
        record.doctor,
    }
    body = {
        "resourceType": "Parameters",
        "parameter": [{"name": "_type", "valueCode": t} for t in ("Encounter", "Location")],
    }
    assert set(found(await fhir.post(path, json=body))) == {record.encounter, record.room}
    moment = (await fhir.get(f"/{record.request}")).json()["meta"]["lastUpdated"]
    assert (
        {record.request, record.coverage}
        <= set(found(await fhir.get(f"{path}?_since={moment}")))
        <= {
            record.request,
            record.coverage,
            record.new,
        }
    )


async def test_an_encounter_with_its_own(fhir: Client, record: Record) -> None:
    modes = found(await fhir.get(f"/{record.encounter}/$everything"))
    assert {n for n, mode in modes.items() if mode == "match"} == {record.encounter, record.new}
    assert {n for n, mode in modes.items() if mode == "include"} == {record.patient, record.doctor, record.room}
    assert next(iter(modes)) == record.encounter


async def test_a_patient_token_sees_its_own_record_alone(fhir: Client, record: Record) -> None:
    token = await fhir.token("patient/*.rs", patient=record.patient.partition("/")[2])
    own = found(await fhir.get(f"/{record.patient}/$everything", token=token))
    assert set(own) == record.members | record.others
    assert found(await fhir.get("/Patient/$everything", token=token)) == own
    other = await Record(fhir).make("Patient")
    assert (await fhir.get(f"/{other}/$everything", token=token)).status_code == 404
    assert (await fhir.get("/Patient/$everything")).status_code == 400


async def test_what_no_scope_covers_is_left_out(fhir: Client, record: Record) -> None:
    token = await fhir.token("system/Patient.r system/Observation.rs system/Encounter.r system/Location.r")
    modes = found(await fhir.get(f"/{record.patient}/$everything", token=token))
    assert set(modes) == {record.patient, record.old, record.new}
    blind = await fhir.token("system/Observation.rs")
    assert (await fhir.get(f"/{record.patient}/$everything", token=blind)).status_code == 403


async def test_another_tenants_record_is_unknown(fhir: Client, other: Client, record: Record) -> None:
    assert (await other.get(f"/{record.patient}/$everything")).status_code == 404
    url = following(await fhir.get(f"/{record.patient}/$everything?_count=2"))
    await other.put(f"/{record.patient}", json={"resourceType": "Patient", "id": record.patient[8:]})
    assert (await other.get(url.removeprefix(fhir.base))).status_code == 400


async def test_what_cannot_be_used_is_refused_by_name(fhir: Client, record: Record) -> None:
    path = f"/{record.patient}/$everything"
    for query, name in (
        ("start=tomorrow", "start"),
        ("_since=x", "_since"),
        ("_type=Nonsense", "_type"),
        ("_count=0", "_count"),
        ("_count=a", "_count"),
        ("end=2024&end=2025", "end"),
        ("code=x", "code"),
        ("_cursor=AAAA", "_cursor"),
    ):
        answer = await fhir.get(f"{path}?{query}")
        assert (answer.status_code, answer.json()["issue"][0]["expression"]) == (400, [f"http.{name}"]), query
    assert (await fhir.get(f"/{record.encounter}/$everything?start=2024")).status_code == 400
    assert (await fhir.post(path, json={"resourceType": "Patient"})).status_code == 400
    assert (await fhir.get("/Patient/none/$everything")).status_code == 404
    assert (await fhir.get("/Observation/x/$everything")).status_code == 404
    await fhir.delete(f"/{record.coverage}")
    assert record.coverage not in found(await fhir.get(path))
    await fhir.delete(f"/{record.patient}")
    assert (await fhir.get(path)).status_code == 410


async def test_the_operations_stand_in_metadata_by_type(fhir: Client) -> None:
    rest = (await fhir.get("/metadata")).json()["rest"][0]
    offered = {
        (r["type"], o["definition"].rpartition("/")[2]) for r in rest["resource"] for o in r.get("operation", ())
    }
    assert {("Patient", "Patient-everything"), ("Encounter", "Encounter-everything")} <= offered
    assert ("Observation", "Observation-everything") not in offered
    assert rest["operation"] == [
        {"name": "meta", "definition": "http://hl7.org/fhir/OperationDefinition/Resource-meta"}
    ]
