"""fhirclient's way to a token: it knows /metadata alone, always proves by S256, and is called back by a person."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from fhirclient.client import FHIRClient
from fhirclient.models.observation import Observation
from fhirclient.server import FHIRPermissionDeniedException, FHIRUnauthorizedException
from requests import HTTPError

from fhir_server.smart.registration import Registration, registered
from fhir_server.store import clients
from fhir_server.store.clients import Kind
from tests.agreeing import Answering, answering
from tests.fhir import Client
from tests.signin import somebody

REDIRECT = "https://app.example.org/after"
SCOPE = "launch/patient openid fhirUser offline_access patient/Patient.rs patient/Observation.read"


@pytest.fixture
async def person(fhir: Client) -> AsyncIterator[Answering]:
    """Give somebody signed in who answers what apps ask."""
    made = await answering(fhir, await somebody(fhir, "clinic-admin"))
    yield made
    await made.http.aclose()


async def app(fhir: Client, kind: Kind, scope: str = SCOPE, **more: Any) -> tuple[str, str | None]:
    """Register an app and return its id and, of a symmetric one, its secret."""
    asked = Registration(
        name="Growth chart", kind=kind, scope=scope, client_id=f"chart-{uuid4()}", redirect_uris=[REDIRECT], **more
    )
    client, secret = registered(asked, fhir.clock())
    await clients.add(fhir.concord.db, fhir.tenant_id, client)
    return client.client_id, secret


def smart(fhir: Client, client_id: str, secret: str | None = None, **more: Any) -> FHIRClient:
    settings = {"app_id": client_id, "api_base": fhir.base, "redirect_uri": REDIRECT, "scope": SCOPE, **more}
    made = FHIRClient(settings=settings | ({"app_secret": secret} if secret else {}))
    made.wants_patient = False
    assert not made.prepare()
    return made


async def patient(fhir: Client) -> str:
    made = await fhir.post("/Patient", json={"resourceType": "Patient", "name": [{"family": "Ångström"}]})
    return str(made.json()["id"])


@pytest.mark.parametrize("kind", ["public", "symmetric"])
async def test_it_is_called_back_reads_the_patient_and_renews_its_token(
    fhir: Client, person: Answering, kind: Kind
) -> None:
    chosen = await patient(fhir)
    client_id, secret = await app(fhir, kind)
    client = await asyncio.to_thread(smart, fhir, client_id, secret)
    back = await person.agrees(client.authorize_url, chosen)

    def session() -> None:
        client.handle_callback(back)
        assert client.ready
        assert (client.patient.id, client.human_name(client.patient.name[0])) == (chosen, "Ångström")
        first = client.server.auth.refresh_token
        assert client.reauthorize()
        assert client.server.auth.refresh_token not in (None, first)
        assert list(Observation.where({"patient": chosen}).perform_resources_iter(client.server)) == []
        with pytest.raises(FHIRPermissionDeniedException):
            client.server.request_json("Condition")

    await asyncio.to_thread(session)


async def test_a_refused_request_comes_back_as_an_error(fhir: Client, person: Answering) -> None:
    client_id, _ = await app(fhir, "public")
    client = await asyncio.to_thread(smart, fhir, client_id)
    await person.opens(client.authorize_url)
    back = (await person.presses("refuse")).arrived
    with pytest.raises(Exception, match=r"access_denied|did not agree"):
        client.handle_callback(back)
    assert not client.ready


async def test_a_wrong_secret_gets_no_token(fhir: Client, person: Answering) -> None:
    client_id, _ = await app(fhir, "symmetric")
    client = await asyncio.to_thread(smart, fhir, client_id, "guessed")
    back = await person.agrees(client.authorize_url, await patient(fhir))
    with pytest.raises((HTTPError, FHIRUnauthorizedException)):
        await asyncio.to_thread(client.handle_callback, back)


async def test_another_patients_record_is_not_there(fhir: Client, person: Answering) -> None:
    mine, theirs = await patient(fhir), await patient(fhir)
    client_id, _ = await app(fhir, "public")
    client = await asyncio.to_thread(smart, fhir, client_id)
    back = await person.agrees(client.authorize_url, mine)
    await asyncio.to_thread(client.handle_callback, back)
    answer = await fhir.get(f"/Patient/{theirs}", token=client.server.auth.access_token)
    assert answer.status_code == 404
