"""Sessions of openid-client, a certified OpenID Connect client for Node that knows nothing of FHIR."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest

from fhir_server.smart.registration import Registration, registered
from fhir_server.store import clients, people
from fhir_server.store.clients import Kind
from tests.agreeing import answering
from tests.clients.node import every_step_passes
from tests.clients.registered import backend, private_key, public
from tests.fhir import Client
from tests.needs import needs
from tests.signin import somebody

REDIRECT = "https://app.example.org/after"
SCOPE = "openid fhirUser launch/patient offline_access patient/Patient.rs"


@needs("node", "npm")
async def test_a_backend_service_gets_tokens_by_its_key(fhir: Client, installed: Path) -> None:
    key = private_key()
    client_id = await backend(fhir, "system/Patient.rs", key)
    told = {"FHIR_BASE": fhir.base, "CLIENT_ID": client_id, "KEY": json.dumps(key)}
    await every_step_passes(installed, "openid_backend_session.mjs", told, 4)


@needs("node", "npm")
@pytest.mark.parametrize("kind", ["public", "symmetric", "asymmetric"])
async def test_an_app_signs_people_in_and_renews_revokes_and_introspects(
    fhir: Client, installed: Path, kind: Kind
) -> None:
    key, person = private_key(), await somebody(fhir, None)
    await people.enrol(fhir.concord.db, fhir.tenant_id, person.id, "clinic-admin", "Practitioner/ada", fhir.clock())
    patient = (await fhir.post("/Patient", json={"resourceType": "Patient"})).json()["id"]
    asked = Registration(
        name="An app", kind=kind, scope=SCOPE + ("" if kind == "public" else " introspection"),
        client_id=f"app-{uuid4()}", redirect_uris=[REDIRECT], jwks=public(key) if kind == "asymmetric" else None,
    )  # fmt: skip
    client, secret = registered(asked, fhir.clock())
    await clients.add(fhir.concord.db, fhir.tenant_id, client)
    told = {"FHIR_BASE": fhir.base, "CLIENT_ID": client.client_id, "KIND": kind, "SECRET": secret or ""}
    told |= {"KEY": json.dumps(key), "REDIRECT_URI": REDIRECT, "FHIR_USER": "Practitioner/ada"}
    answers = await answering(fhir, person)
    try:
        opens = lambda url: answers.agrees(url, patient)  # noqa: E731
        await every_step_passes(installed, "openid_code_session.mjs", told, 6, opens)
    finally:
        await answers.http.aclose()
