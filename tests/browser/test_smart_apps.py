"""SMART's own JavaScript client in a browser, at another origin than the server: EHR and standalone launch.

https://hl7.org/fhir/smart-app-launch/app-launch.html
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from playwright.async_api import Browser

from fhir_server.smart.registration import Registration, registered
from fhir_server.store import clients
from fhir_server.store.clients import Kind
from tests.browser.people import allow, choose_patient, ready, signed_in
from tests.browser.smart_apps import Apps
from tests.clients.registered import private_key, public
from tests.fhir import Client
from tests.needs import needs
from tests.signin import somebody

MOST = "launch launch/patient launch/encounter openid fhirUser profile offline_access online_access patient/*.cruds user/*.cruds"  # noqa: E501


async def offered(fhir: Client, apps: Apps, kind: Kind = "public", scope: str = "", **settings: Any) -> str:
    """Register an app of this kind that asks for `scope`, put it online, and return its name."""
    name, key = f"app-{uuid4().hex[:8]}", private_key()
    asked = Registration(
        name=f"The {kind} app", kind=kind, scope=MOST, client_id=name, redirect_uris=[apps.redirect_uri(name)],
        launch_uri=apps.launch_uri(name), jwks=public(key) if kind == "asymmetric" else None,
    )  # fmt: skip
    client, secret = registered(asked, fhir.clock())
    await clients.add(fhir.concord.db, fhir.tenant_id, client)
    proof: dict[str, Any] = {"clientSecret": secret} if secret else {}
    if kind == "asymmetric":
        proof = {"clientPrivateJwk": {**key, "alg": "ES384"}}
    apps.settings[name] = {
        "clientId": name, "scope": scope, "redirectUri": apps.redirect_uri(name), "iss": fhir.base,
        **proof, **settings,
    }  # fmt: skip
    return name


async def patient(fhir: Client, family: str) -> str:
    made = await fhir.post("/Patient", json={"resourceType": "Patient", "name": [{"family": family}]})
    return str(made.json()["id"])


@needs("chromium", "node", "npm")
@pytest.mark.parametrize("kind", ["public", "symmetric", "asymmetric"])
async def test_a_standalone_app_of_each_kind_reads_the_chosen_patient(
    fhir: Client, browser: Browser, apps: Apps, kind: Kind
) -> None:
    chosen = await patient(fhir, "Ångström")
    name = await offered(fhir, apps, kind, "launch/patient openid fhirUser patient/*.rs")
    async with signed_in(browser, fhir, await somebody(fhir, "clinic-admin")) as page:
        await page.goto(apps.launch_uri(name))
        await choose_patient(page, "Ångström")
        await allow(page)
        assert await ready(page) == "ready", await page.evaluate("app.failure")
        assert await page.evaluate("app.client.patient.id") == chosen
        assert await page.evaluate("app.client.patient.read().then((p) => p.name[0].family)") == "Ångström"
