"""A session of fhirclient, the SMART project's own: its models refuse what is no R4, so it judges our answers too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fhirclient.client import FHIRClient
from fhirclient.models.bundle import Bundle
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient
from fhirclient.server import (
    FHIRNotFoundException,
    FHIRPermissionDeniedException,
    FHIRServer,
    FHIRUnauthorizedException,
)
from requests import HTTPError

from tests.fhir import Client

Session = Callable[[FHIRServer], None]
PATIENT = {"resourceType": "Patient", "name": [{"family": "Ångström", "given": ["Eva"]}], "birthDate": "1970-03-30"}


def server(base: str, token: str) -> FHIRServer:
    """Return the client's own server, set up with a token as a script does that got one by itself."""
    smart = FHIRClient(settings={"app_id": "session", "api_base": base})
    # It sees in metadata that tokens are given here, and would ask for one.
    assert not smart.prepare()
    smart.server.auth.access_token = token
    assert smart.ready
    return smart.server


def result(patient: str, value: float) -> dict[str, Any]:
    code = {"coding": [{"system": "http://loinc.org", "code": "718-7"}]}
    quantity = {"value": value, "unit": "g/dL", "system": "http://unitsofmeasure.org", "code": "g/dL"}
    subject = {"reference": patient}
    return {"resourceType": "Observation", "status": "final", "code": code, "subject": subject} | {
        "valueQuantity": quantity
    }


def the_capability_statement_is_one(at: FHIRServer) -> None:
    statement = at.capabilityStatement
    assert statement.fhirVersion == "4.0.1"
    assert at.base_uri == statement.implementation.url + "/"
    patient = next(r for r in statement.rest[0].resource if r.type == "Patient")
    assert {"read", "vread", "update", "patch", "search-type"} <= {i.code for i in patient.interaction}


def a_resource_lives_and_ends(at: FHIRServer) -> None:
    made = Patient(PATIENT).create(at)
    patient = Patient.read(made["id"], at)
    assert (patient.name[0].family, patient.birthDate.isostring) == ("Ångström", "1970-03-30")
    patient.gender = "female"
    assert patient.update()["meta"]["versionId"] == "2"
    assert Patient.read_from(f"Patient/{patient.id}/_history/1", at).gender is None
    history = Bundle.read_from(f"Patient/{patient.id}/_history", at)
    assert [entry.resource.meta.versionId for entry in history.entry] == ["2", "1"]
    patient.delete()
    with pytest.raises(HTTPError, match="410"):
        Patient.read(made["id"], at)


def searches_find_include_and_page(at: FHIRServer) -> None:
    patients = [Patient({**PATIENT, "gender": gender}).create(at)["id"] for gender in ("female", "male")]
    results = [Observation(result(f"Patient/{patients[n % 2]}", n)).create(at)["id"] for n in range(7)]
    women = Patient.where({"gender": "female", "birthdate": "lt1980", "name": {"$exact": "Ångström"}})
    assert [p.id for p in women.perform_resources_iter(at)] == patients[:1]
    theirs = Observation.where({"subject": f"Patient/{patients[0]}", "_count": "2", "_sort": "_lastUpdated"})
    pages = list(theirs.perform_iter(at))
    assert [len(page.entry) for page in pages] == [2, 2]
    assert [entry.resource.id for page in pages for entry in page.entry] == results[::2]
    with pytest.warns(DeprecationWarning, match="perform_resources_iter"):
        assert len(theirs.perform_resources(at)) == 4
    with_subjects = Observation.where({"_id": results[0]}).include("subject").perform_resources_iter(at)
    assert [r.resource_type for r in with_subjects] == ["Observation", "Patient"]
    chained = Observation.where({"subject": {"$type": "Patient", "gender": "male"}}).perform_resources_iter(at)
    assert {r.id for r in chained} == set(results[1::2])


def a_transaction_is_created(at: FHIRServer) -> None:
    urn = "urn:uuid:5a7d0b0c-3d3e-4a6e-9a53-0f4e7e9f1a11"
    entries = [
        {"fullUrl": urn, "resource": PATIENT, "request": {"method": "POST", "url": "Patient"}},
        {"resource": result(urn, 1), "request": {"method": "POST", "url": "Observation"}},
    ]
    answer = Bundle({"resourceType": "Bundle", "type": "transaction", "entry": entries}).create(at)
    assert [e.response.status[:3] for e in Bundle(answer).entry] == ["201", "201"]
    stored = next(Observation.where({}).perform_resources_iter(at))
    assert Patient.read_from(stored.subject.reference, at).name[0].given == ["Eva"]


def what_is_wrong_raises(at: FHIRServer) -> None:
    with pytest.raises(FHIRNotFoundException):
        Patient.read("none", at)
    with pytest.raises(HTTPError, match="400"):
        list(Patient.where({"birthdate": {"$gt": "1980"}}).perform_iter(at))
    with pytest.raises(HTTPError, match="400"):
        at.post_json("Patient", {"resourceType": "Patient", "gender": "odd"})
    at.auth.access_token = "nonsense"
    with pytest.raises(FHIRUnauthorizedException):
        Patient.read("none", at)


SESSIONS: list[Session] = [
    the_capability_statement_is_one,
    a_resource_lives_and_ends,
    searches_find_include_and_page,
    a_transaction_is_created,
    what_is_wrong_raises,
]


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.__name__)
async def test_a_session_passes(fhir: Client, token: str, session: Session) -> None:
    await asyncio.to_thread(lambda: session(server(fhir.base, token)))


async def test_a_token_that_may_only_read_is_told_so(fhir: Client) -> None:
    token = await fhir.token("system/Patient.r")

    def session() -> None:
        with pytest.raises(FHIRPermissionDeniedException):
            Patient(PATIENT).create(server(fhir.base, token))

    await asyncio.to_thread(session)
