"""Sessions of fhirpy, asynchronous and synchronous, with a running server; it reaches them over TCP as anybody does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fhirpy import AsyncFHIRClient, SyncFHIRClient
from fhirpy.base.exceptions import (
    AuthorizationError,
    ForbiddenError,
    MultipleResourcesFound,
    OperationOutcome,
    ResourceNotFound,
)

from tests.fhir import Client

SYSTEM = "http://ids.example"
TAG = {"system": "http://tags.example", "code": "seen"}


@pytest.fixture
def client(fhir: Client, token: str) -> AsyncFHIRClient:
    return AsyncFHIRClient(fhir.base, authorization=f"Bearer {token}")


def person(client: Any, value: str, **more: Any) -> Any:
    name = [{"family": f"Family{value}", "given": ["Eva"]}]
    identifier = [{"system": SYSTEM, "value": value}]
    return client.resource("Patient", name=name, identifier=identifier, birthDate="1970-03-30", **more)


async def people(client: AsyncFHIRClient, number: int) -> list[Any]:
    """Store patients 1 to `number`, each with one observation, whose value is the number."""
    stored = [await person(client, str(n)).save() for n in range(1, number + 1)]
    for n, patient in enumerate(stored, 1):
        code = {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}
        value = {"value": n, "unit": "g/dL", "system": "http://unitsofmeasure.org", "code": "g/dL"}
        await client.resource(
            "Observation", status="final", code=code, subject=patient.to_reference(), valueQuantity=value
        ).save()
    return stored


async def test_a_resource_is_created_read_changed_and_deleted(client: AsyncFHIRClient) -> None:
    patient = await person(client, "1").save()
    assert (patient["meta"]["versionId"], patient.id is not None) == ("1", True)
    patient["gender"] = "female"
    await patient.save()
    assert patient["meta"]["versionId"] == "2"
    await patient.save(fields=["gender"])
    assert patient["meta"]["versionId"] == "2", "what changes nothing makes no version"
    await patient.patch(active=True, birthDate=None)
    assert (patient["active"], "birthDate" in patient, patient["name"][0]["given"]) == (True, False, ["Eva"])
    await client.patch(f"Patient/{patient.id}", gender="male")
    await patient.refresh()
    assert (patient["gender"], patient["meta"]["versionId"]) == ("male", "4")
    await patient.refresh()
    assert (await client.get("Patient", patient.id))["gender"] == "male"
    assert (await client.reference("Patient", patient.id).to_resource())["gender"] == "male"
    await patient.delete()
    with pytest.raises(ResourceNotFound, match="deleted"):
        await client.get("Patient", patient.id)


async def test_searches_with_chains_includes_and_sort_find_what_they_say(client: AsyncFHIRClient) -> None:
    first, second, third = await people(client, 3)
    patients, results = client.resources("Patient"), client.resources("Observation")
    assert await patients.search(name="family2").fetch() == [second]
    assert await patients.search(identifier=f"{SYSTEM}|3").get() == third
    assert await patients.search(birthdate__lt="1980", name__exact="Family1").first() == first
    assert await patients.has("Observation", "patient", value_quantity__gt=2).fetch() == [third]
    found = await results.search(patient__Patient__name="family1").include("Observation", "subject").fetch_raw()
    assert [e["search"]["mode"] for e in found.entry] == ["match", "include"]
    assert found.entry[1].resource == first
    back = await patients.search(_id=first.id).revinclude("Observation", "subject").fetch_raw()
    assert [e.resource.resource_type for e in back.entry] == ["Patient", "Observation"]
    assert await patients.sort("_lastUpdated").fetch() == [first, second, third]
    assert await patients.sort("-_lastUpdated").fetch() == [third, second, first]
    cut = await patients.search(_id=first.id).elements("birthDate").first()
    assert set(cut) == {"resourceType", "id", "meta", "birthDate"}


async def test_all_pages_are_fetched_by_their_links(client: AsyncFHIRClient) -> None:
    stored = await people(client, 7)
    found = await client.resources("Patient").sort("_lastUpdated").limit(2).fetch_all()
    assert [patient.id for patient in found] == [patient.id for patient in stored]
    assert [p.id async for p in client.resources("Patient").limit(3)] == [p.id for p in reversed(stored)]


async def test_a_parameter_of_the_clients_own_is_refused_unless_it_asks_for_leniency(
    fhir: Client, client: AsyncFHIRClient, token: str
) -> None:
    await people(client, 3)
    with pytest.raises(OperationOutcome, match="_totalMethod"):
        await client.resources("Patient").count()
    lenient = AsyncFHIRClient(fhir.base, f"Bearer {token}", extra_headers={"Prefer": "handling=lenient"})
    assert await lenient.resources("Patient").search(name="family2").count() == 1


async def test_conditional_writes_by_criteria(client: AsyncFHIRClient) -> None:
    named = client.resources("Patient").search(identifier=f"{SYSTEM}|1")
    made, created = await named.get_or_create(person(client, "1"))
    again, twice = await named.get_or_create(person(client, "1", active=True))
    assert (created, twice, again.id, "active" in again) == (True, False, made.id, False)
    changed, created = await named.update(person(client, "1", gender="other"))
    assert (changed.id, changed["meta"]["versionId"], created) == (made.id, "2", False)
    assert (await person(client, "1").create(identifier=f"{SYSTEM}|1")).id == made.id
    with pytest.warns(DeprecationWarning, match="patch"):
        patched = await named.patch(active=False)
    assert patched["active"] is False
    assert (await named.delete())[1] == 204
    assert await named.first() is None
    for _ in range(2):
        await person(client, "2").save()
    with pytest.raises(MultipleResourcesFound):
        await client.resources("Patient").search(identifier=f"{SYSTEM}|2").get_or_create(person(client, "2"))


async def test_a_transaction_is_saved_as_a_bundle_and_its_parts_refer_to_each_other(client: AsyncFHIRClient) -> None:
    urn = "urn:uuid:0b7c3f0e-6a5f-4b33-9a3c-0c8b5f1d2e3a"
    observation = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": urn},
    }
    entries = [
        {"fullUrl": urn, "resource": person(client, "1").serialize(), "request": {"method": "POST", "url": "Patient"}},
        {"resource": observation, "request": {"method": "POST", "url": "Observation"}},
    ]
    answer = await client.resource("Bundle", type="transaction", entry=entries).save()
    assert [e["response"]["status"][:3] for e in answer["entry"]] == ["201", "201"]
    found = await client.resources("Observation").first()
    assert (await found["subject"].to_resource())["identifier"][0]["value"] == "1"
    entries[1]["resource"] = observation | {"status": "odd"}
    with pytest.raises(OperationOutcome, match=r"Bundle\.entry\[1\]\.resource\.status"):
        await client.resource("Bundle", type="transaction", entry=entries).save()
    assert len(await client.resources("Patient").fetch_all()) == 1


async def test_history_and_operations(client: AsyncFHIRClient) -> None:
    patient = await person(client, "1").save()
    await patient.patch(active=True)
    history = await client.execute(f"{patient.reference}/_history", "get", params={"_count": 1})
    assert (history["type"], history["total"], len(history["entry"])) == ("history", 2, 1)
    assert (await client.execute(f"{patient.reference}/_history/1", "get")).get("active") is None
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": {"tag": [TAG]}}]}
    told = await patient.execute("$meta-add", data=parameters)
    assert told["parameter"][0]["valueMeta"]["tag"] == [TAG]
    assert await client.resources("Patient").search(_tag="seen").fetch() == [patient]
    told = await patient.execute("$meta", "get")
    assert told["parameter"][0]["valueMeta"]["tag"] == [TAG]


async def test_what_is_wrong_is_told_as_the_clients_own_errors(fhir: Client, client: AsyncFHIRClient) -> None:
    with pytest.raises(ResourceNotFound, match="Patient/none"):
        await client.get("Patient", "none")
    with pytest.raises(OperationOutcome, match=r"Patient\.gender"):
        await person(client, "1", gender="odd").save()
    with pytest.raises(OperationOutcome, match="birthdate"):
        await client.resources("Patient").search(birthdate__gt="soon").fetch()
    with pytest.raises(AuthorizationError):
        await AsyncFHIRClient(fhir.base, "Bearer nonsense").resources("Patient").fetch()
    reader = AsyncFHIRClient(fhir.base, f"Bearer {await fhir.token('system/Patient.r')}")
    with pytest.raises(ForbiddenError):
        await person(reader, "1").save()


def synchronous(client: SyncFHIRClient) -> list[str]:
    """Do the rounds of a script without a loop, and return the ids of the patients that its pages show."""
    patients = [person(client, str(n)).save() for n in range(5)]
    patients[0]["active"] = True
    patients[0].save()
    patients[1].patch(gender="female")
    assert client.resources("Patient").search(gender="female").get().id == patients[1].id
    patients[2].delete()
    with pytest.raises(ResourceNotFound):
        client.reference("Patient", patients[2].id).to_resource()
    _, created = client.resources("Patient").search(identifier=f"{SYSTEM}|4").get_or_create(person(client, "4"))
    assert not created
    return [p.id for p in client.resources("Patient").sort("_lastUpdated").limit(2).fetch_all()]


async def test_the_synchronous_client_does_the_same(fhir: Client, token: str) -> None:
    client = SyncFHIRClient(fhir.base, authorization=f"Bearer {token}")
    shown = await asyncio.to_thread(synchronous, client)
    answer = await fhir.get("/Patient?_sort=_lastUpdated")
    assert shown == [e["resource"]["id"] for e in answer.json()["entry"]]
    assert len(shown) == 4
