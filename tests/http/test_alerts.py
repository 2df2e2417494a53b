"""/{tenant}/api/alerts: what stands is seen and acknowledged, and recipients are named, by those who may."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from fhir_server.context import Role
from fhir_server.store import alerts
from tests.fhir import Client
from tests.http.test_special_access import REASON, signed_in
from tests.people import member

SILENT = {"minutes": 130, "allowed": 120}


async def call(
    fhir: Client, method: str, path: str = "", *, scope: str = "system/*.cruds", subject: str = "tester", **more: Any
) -> httpx.Response:
    """Send a request to the alerts of the client's clinic."""
    address = fhir.base.removesuffix("/fhir") + "/api/alerts" + path
    headers = {"authorization": f"Bearer {await fhir.token(scope, subject=subject)}"} if scope else {}
    return await fhir.http.request(method, address, headers=headers, **more)


async def raised(fhir: Client, kind: str = "silence") -> None:
    """Have an alert stand."""
    async with fhir.concord.db.transaction(fhir.tenant_id) as tx:
        await alerts.note(tx, "lab", kind, 1, SILENT, fhir.clock(), more=False)


async def test_an_alert_is_listed_with_what_it_says_and_acknowledged_with_a_note(fhir: Client) -> None:
    await raised(fhir)
    (row,) = (await call(fhir, "GET", "?standing=true")).json()
    assert (row["channel"], row["kind"], row["detail"]) == ("lab", "silence", SILENT)
    assert row["text"] == "Nothing came for 130 expected minutes; 120 are allowed"
    path = f"/{row['id']}/acknowledge"
    assert (await call(fhir, "POST", path, json={"note": "line down"})).status_code == 204
    (row,) = (await call(fhir, "GET")).json()
    assert (row["acknowledged_by"], row["note"], row["resolved"]) == ("tester", "line down", None)
    assert (await call(fhir, "POST", path, json={})).status_code == 404


async def test_an_alert_of_another_clinic_is_not_there(fhir: Client, other: Client) -> None:
    await raised(fhir)
    (row,) = (await call(fhir, "GET")).json()
    assert (await call(other, "GET")).json() == []
    assert (await call(other, "POST", f"/{row['id']}/acknowledge", json={})).status_code == 404


async def test_a_webhooks_secret_is_told_once(fhir: Client) -> None:
    given = {"kind": "webhook", "address": "https://hooks.example.org/x"}
    added = (await call(fhir, "POST", "/recipients", json=given)).json()
    assert len(added["secret"]) > 40
    (row,) = (await call(fhir, "GET", "/recipients")).json()
    assert (row["address"], row["author"], row["secret"]) == (given["address"], "tester", None)
    assert (await call(fhir, "POST", "/test")).json() == {"recipients": 1}
    assert (await call(fhir, "DELETE", "/recipients", params={"address": given["address"]})).status_code == 204
    assert (await call(fhir, "GET", "/recipients")).json() == []


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "webhook", "address": "http://hooks.example.org/"},
        {"kind": "webhook", "address": "file:///etc/passwd"},
        {"kind": "email", "address": "nobody"},
        {"kind": "pigeon", "address": "a@example.org"},
    ],
)
async def test_who_cannot_be_told_is_refused(fhir: Client, given: dict[str, str]) -> None:
    assert (await call(fhir, "POST", "/recipients", json=given)).status_code == 400


@pytest.mark.parametrize(
    ("scope", "status"), [("", 401), ("system/Patient.rs", 403), ("patient/*.cruds", 403), ("system/*.rs", 200)]
)
async def test_a_token_needs_to_be_of_an_operator(fhir: Client, scope: str, status: int) -> None:
    assert (await call(fhir, "GET", scope=scope)).status_code == status
    if status == 200:
        assert (await call(fhir, "POST", "/test", scope=scope)).status_code == 403


@pytest.mark.parametrize(("role", "status"), [("clinic-admin", 200), ("physician", 403), ("front-desk", 403)])
async def test_a_person_needs_to_be_the_clinics_administrator(fhir: Client, role: Role, status: int) -> None:
    person = await member(fhir, role)
    assert (await call(fhir, "GET", scope="user/*.cruds", subject=person.sub)).status_code == status


async def test_broken_glass_is_an_alert_that_names_who_and_the_access_but_no_patient(fhir: Client) -> None:
    made = await fhir.post("/Patient", json={"resourceType": "Patient", "name": [{"family": "Canaryname"}]})
    patient = made.json()["id"]
    async with signed_in(fhir, "physician") as eve:
        opened = (await eve.opens("/break-glass", patient=f"Patient/{patient}")).json()
        (row,) = (await call(fhir, "GET")).json()
        assert (row["kind"], row["channel"], row["count"]) == ("break-glass", "", 1)
        assert row["detail"] == {"email": eve.person.email, "access": opened["id"][:8]}
        assert not any(word in str(row) for word in ("Canaryname", patient, REASON))
