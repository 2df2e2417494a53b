"""A SearchParameter for a tenant's own extension, and resources that have it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fhir_server.app import jobs
from fhir_server.store.tickets import JOB
from tests.fhir import Client

URL = "https://clinic.example/color"
COLOR = "https://clinic.example/colors"
U = "https://clinic.example/own"
# A job that failed waits for no longer than this; a token is good for more of these.
_PATIENCE, _TRIES = timedelta(minutes=6), 9
Json = dict[str, Any]


def parameter(id_: str = "color", **more: Any) -> Json:
    """Return a SearchParameter: of the favourite colour of patients, but for what is given."""
    plain = {
        "resourceType": "SearchParameter",
        "id": id_,
        "url": f"https://clinic.example/SearchParameter/{id_}",
        "name": id_,
        "status": "active",
        "description": id_,
        "code": id_,
        "base": ["Patient"],
        "type": "token",
        "expression": f"Patient.extension.where(url='{URL}').value.as(CodeableConcept)",
    }
    return {name: value for name, value in {**plain, **more}.items() if value is not None}


def extension(url: str = URL, **value: Any) -> Json:
    """Return an extension."""
    return {"url": url, **value}


def color(code: str) -> Json:
    """Return the extension that says this colour."""
    return extension(valueCodeableConcept={"coding": [{"system": COLOR, "code": code}]})


def patient(id_: str, *extensions: Json, **more: Any) -> Json:
    """Return a Patient with these extensions."""
    given = {"extension": list(extensions)} if extensions else {}
    return {"resourceType": "Patient", "id": id_, **given, **more}


async def put(fhir: Client, *resources: Json) -> None:
    """Store resources under their ids."""
    for one in resources:
        answer = await fhir.put(f"/{one['resourceType']}/{one['id']}", json=one)
        assert answer.status_code in (200, 201), answer.text


async def defined(fhir: Client, *parameters: Json) -> None:
    """Store SearchParameters; what is there is not indexed by them yet."""
    await put(fhir, *parameters)


async def searchable(fhir: Client, *parameters: Json) -> None:
    """Store SearchParameters, and let the worker index what is there."""
    await put(fhir, *parameters)
    await worked(fhir)


async def worked(fhir: Client) -> None:
    """Let the worker do all jobs of the tenant, also those that met another writer and are to be tried again later."""
    sql = "select 1 from job_ticket where kind = %s and tenant_id = %s"
    for _ in range(_TRIES):
        await jobs(fhir.concord).drain()
        if not await fhir.concord.db.fetch(None, sql, (JOB, fhir.tenant_id)):
            return
        fhir.clock.move(_PATIENCE)
    raise AssertionError("the jobs of the tenant do not end")


async def ids(fhir: Client, query: str, **more: Any) -> list[str]:
    """Return the ids of what a search finds, sorted."""
    answer = await fhir.get(query, **more)
    assert answer.status_code == 200, answer.text
    found = [entry for entry in answer.json().get("entry", []) if entry["search"]["mode"] != "outcome"]
    return sorted(entry["resource"]["id"] for entry in found)


async def state(fhir: Client, id_: str = "color", **more: Any) -> Json:
    """Return what $progress tells, by name."""
    answer = await fhir.get(f"/SearchParameter/{id_}/$progress", **more)
    assert answer.status_code == 200, answer.text
    return {p["name"]: next(v for k, v in p.items() if k != "name") for p in answer.json()["parameter"]}
