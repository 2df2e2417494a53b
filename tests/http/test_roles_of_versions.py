"""What roles see of versions that were replaced."""

from __future__ import annotations

import pytest

from tests.fhir import Client
from tests.http.clinic import Clinic, clinic


@pytest.fixture
async def here(fhir: Client) -> Clinic:
    """Return a clinic with two patients."""
    return await clinic(fhir)


async def test_nobody_by_role_sees_older_versions_that_the_role_does_not_reach(here: Clinic) -> None:
    fhir, place = here.fhir, here.places["note"]
    old = (await fhir.get(f"/{place}")).json()
    hidden = old | {"meta": {"security": [{"code": "PSY"}]}, "description": "Canary"}
    assert (await fhir.put(f"/{place}", json=hidden)).status_code == 200
    assert (await fhir.put(f"/{place}", json=old)).status_code == 200
    # A label that protects goes only where somebody takes it away.
    bearer = {"authorization": f"Bearer {await fhir.token('system/*.cruds')}"}
    labels = f"{fhir.base.removesuffix('/fhir')}/api/labels/remove"
    gone = await fhir.http.post(labels, json={"reference": place, "codes": ["PSY", "R"]}, headers=bearer)
    assert gone.status_code == 204, gone.text
    admin, attorney, doctor = await here.token("clinic-admin"), await here.attorney(), await here.token("physician")
    await here.release("note")
    await here.care("appointment")
    for token, versions in ((admin, ["4", "1"]), (attorney, ["4"]), (doctor, ["4", "1"])):
        for page in (f"/{place}/_history", "/DocumentReference/_history?_count=100"):
            answer = await fhir.get(page, token=token)
            assert "Canary" not in answer.text
            mine = [e["resource"] for e in answer.json()["entry"] if place.endswith(e["resource"]["id"])]
            assert [one["meta"]["versionId"] for one in mine] == versions, page
        for version in "1234":
            status = (await fhir.get(f"/{place}/_history/{version}", token=token)).status_code
            assert status == (200 if version in versions else 404), version
