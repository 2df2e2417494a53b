"""SMART's own JavaScript client in a browser, at another origin than the server: EHR and standalone launch.

https://hl7.org/fhir/smart-app-launch/app-launch.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from fhir_server.smart.registration import Registration, registered
from fhir_server.store import clients, people, tenants
from fhir_server.store.clients import Kind
from fhir_server.store.people import Person
from tests.browser.driven import PHONE
from tests.browser.people import allow, choose_patient, ready, signed_in
from tests.browser.smart_apps import Apps
from tests.clients.registered import private_key, public
from tests.fhir import Client, running
from tests.needs import needs
from tests.people import token_of
from tests.signin import somebody

BROWSER = ("chromium", "node", "npm")

MOST = "launch launch/patient launch/encounter openid fhirUser profile offline_access online_access patient/*.cruds user/*.cruds"  # noqa: E501


async def offered(
    fhir: Client, apps: Apps, kind: Kind, scope: str, registration: Mapping[str, Any] | None = None, **settings: Any
) -> str:
    """Register an app of this kind that asks for `scope`, put it online, and return its name."""
    name, key = f"app-{uuid4().hex[:8]}", private_key()
    proof: dict[str, Any] = {}
    if kind == "asymmetric" and registration is None:
        registration, proof = {"jwks": public(key)}, {"clientPrivateJwk": {**key, "alg": "ES384"}}
    asked = Registration(
        name=f"The {kind} app", kind=kind, scope=MOST, client_id=name, redirect_uris=[apps.redirect_uri(name)],
        launch_uri=apps.launch_uri(name), **(registration or {}),
    )  # fmt: skip
    client, secret = registered(asked, fhir.clock())
    await clients.add(fhir.concord.db, fhir.tenant_id, client)
    if secret:
        proof = {"clientSecret": secret}
    told = {"clientId": name, "scope": scope, "redirectUri": apps.redirect_uri(name), "iss": fhir.base}
    apps.settings[name] = told | proof | settings
    return name


async def record(fhir: Client, family: str = "Ångström") -> str:
    """Store a patient with a visit, a problem, a laboratory result and a vital sign, and return the patient's id."""
    made = await fhir.post("/Patient", json={"resourceType": "Patient", "name": [{"family": family}]})
    subject = {"subject": {"reference": f"Patient/{made.json()['id']}"}}
    terms = "http://terminology.hl7.org/CodeSystem"
    for category in ("laboratory", "vital-signs"):
        kind = {"coding": [{"system": f"{terms}/observation-category", "code": category}]}
        observed = {"resourceType": "Observation", "status": "final", "code": {"text": category}, "category": [kind]}
        assert (await fhir.post("/Observation", json=observed | subject)).status_code == 201
    assert (await fhir.post("/Condition", json={"resourceType": "Condition", **subject})).status_code == 201
    return str(made.json()["id"])


async def asking(fhir: Client, page: Page, apps: Apps, name: str, family: str = "Ångström") -> None:
    """Start an app by itself and choose the patient: what is asked next is on the page."""
    await page.goto(apps.launch_uri(name))
    await choose_patient(page, family)
    await expect(page.get_by_role("heading", name="Allow")).to_be_visible()


async def seen(page: Page, query: str) -> Any:
    """Return the texts of what a search by the app finds, or the status by which it is refused."""
    script = """async (query) => {
        try {
            const bundle = await app.client.request(query);
            return (bundle.entry ?? []).map((entry) => entry.resource.code?.text ?? entry.resource.resourceType);
        } catch (failure) { return failure.status ?? failure.statusCode ?? String(failure); }
    }"""
    return await page.evaluate(script, query)


async def scopes(page: Page) -> set[str]:
    """Return what the app was granted."""
    return set((await page.evaluate("app.client.state.tokenResponse.scope")).split())


@needs(*BROWSER)
@pytest.mark.parametrize("kind", ["public", "symmetric", "asymmetric"])
async def test_a_standalone_app_of_each_kind_reads_the_chosen_patient(
    fhir: Client, browser: Browser, apps: Apps, kind: Kind
) -> None:
    chosen = await record(fhir)
    name = await offered(fhir, apps, kind, "launch/patient openid fhirUser patient/*.rs")
    async with signed_in(browser, fhir, await somebody(fhir, "clinic-admin")) as page:
        await asking(fhir, page, apps, name)
        await allow(page)
        assert await ready(page) == "ready", await page.evaluate("app.failure")
        assert await page.evaluate("app.client.patient.id") == chosen
        assert await page.evaluate("app.client.patient.read().then((p) => p.name[0].family)") == "Ångström"
        assert await page.evaluate("app.client.state.tokenResponse.refresh_token ?? null") is None


@needs(*BROWSER)
async def test_an_app_started_from_here_knows_patient_visit_user_and_style(
    fhir: Client, browser: Browser, apps: Apps
) -> None:
    person, patient = await somebody(fhir, None), await record(fhir)
    doctor = (
        await fhir.post("/Practitioner", json={"resourceType": "Practitioner", "name": [{"family": "Ada"}]})
    ).json()
    await enrol(fhir, person, f"Practitioner/{doctor['id']}")
    visit = {"resourceType": "Encounter", "status": "in-progress", "class": {"code": "AMB"}}
    subject = {"subject": {"reference": f"Patient/{patient}"}}
    encounter = (await fhir.post("/Encounter", json=visit | subject)).json()["id"]
    name = await offered(fhir, apps, "symmetric", "launch openid fhirUser patient/*.rs user/Practitioner.rs")
    asked = {"client_id": name, "patient": patient, "encounter": encounter}
    headers = {"authorization": f"Bearer {await token_of(fhir, person)}"}
    address = f"{fhir.concord.base_url}/{fhir.tenant}/api/launch"
    launched = (await fhir.http.post(address, json=asked, headers=headers)).json()["url"]
    async with signed_in(browser, fhir, person) as page:
        await page.goto(launched)
        await expect(page.get_by_text("It is about the patient Ångström")).to_be_visible()
        await allow(page)
        assert await ready(page) == "ready", await page.evaluate("app.failure")
        assert await page.evaluate("[app.client.patient.id, app.client.encounter.id]") == [patient, encounter]
        assert await page.evaluate("app.client.encounter.read().then((found) => found.status)") == "in-progress"
        assert await page.evaluate("app.client.user.fhirUser") == f"Practitioner/{doctor['id']}"
        assert await page.evaluate("app.client.user.read().then((found) => found.name[0].family)") == "Ada"
        assert await page.evaluate("app.client.state.tokenResponse.need_patient_banner") is False
        style = "fetch(app.client.state.tokenResponse.smart_style_url).then((found) => found.json())"
        assert await page.evaluate(f"{style}.then((style) => style.color_background)")
        await page.goto(launched)
        assert await ready(page) == "failed", "a launch is good once"


@needs(*BROWSER)
async def test_scopes_of_the_first_version_mean_what_they_meant(fhir: Client, browser: Browser, apps: Apps) -> None:
    await record(fhir)
    name = await offered(fhir, apps, "public", "launch/patient patient/Observation.read patient/Patient.read")
    async with signed_in(browser, fhir, await somebody(fhir, "clinic-admin")) as page:
        await asking(fhir, page, apps, name)
        await allow(page)
        assert await ready(page) == "ready"
        assert await scopes(page) == {"launch/patient", "patient/Observation.rs", "patient/Patient.rs"}
        assert sorted(await seen(page, "Observation")) == ["laboratory", "vital-signs"]
        assert await seen(page, "Condition") == 403
        created = "app.client.create({ resourceType: 'Observation', status: 'final', code: { text: 'x' } })"
        assert await page.evaluate(f"{created}.then(() => 0, (failure) => failure.statusCode ?? failure.status)") == 403


@needs(*BROWSER)
async def test_a_person_keeps_back_a_type_and_all_but_one_kind_of_another(
    fhir: Client, browser: Browser, apps: Apps
) -> None:
    await record(fhir)
    scope = "launch/patient patient/Patient.rs patient/Condition.rs patient/Observation.rs"
    name = await offered(fhir, apps, "public", scope)
    async with signed_in(browser, fhir, await somebody(fhir, "clinic-admin"), **PHONE) as page:
        await asking(fhir, page, apps, name)
        observations = page.get_by_role("group", name="Results and measurements", exact=True)
        await expect(observations.get_by_label("laboratory results")).to_be_hidden()
        await observations.get_by_label("See only some of it").check()
        await observations.get_by_label("laboratory results").check()
        await (
            page.get_by_role("group", name="Illnesses and diagnoses", exact=True)
            .get_by_label("See nothing of it")
            .check()
        )
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await allow(page)
        assert await ready(page) == "ready"
        laboratory = "http://terminology.hl7.org/CodeSystem/observation-category|laboratory"
        narrow = f"patient/Observation.rs?category={laboratory}"
        assert await scopes(page) == {"launch/patient", "patient/Patient.rs", narrow}
        assert await seen(page, "Observation") == ["laboratory"]
        assert await seen(page, "Observation?category=vital-signs") == []
        assert await seen(page, "Condition") == 403


@needs(*BROWSER)
@pytest.mark.parametrize("kind", ["public", "symmetric"])
async def test_access_is_renewed_until_it_is_taken_back(fhir: Client, browser: Browser, apps: Apps, kind: Kind) -> None:
    await record(fhir)
    name = await offered(fhir, apps, kind, "launch/patient offline_access patient/*.rs")
    async with signed_in(browser, fhir, await somebody(fhir, "clinic-admin")) as page:
        await asking(fhir, page, apps, name)
        await expect(page.get_by_text("It asks to keep this access when you are not there")).to_be_visible()
        await allow(page)
        assert await ready(page) == "ready"
        tokens = "[app.client.state.tokenResponse.access_token, app.client.state.tokenResponse.refresh_token]"
        first = await page.evaluate(tokens)
        await page.evaluate("app.client.refresh()")
        assert not set(first) & set(await page.evaluate(tokens))
        assert len(await seen(page, "Observation")) == 2
        other = await page.context.new_page()
        await other.goto(f"{fhir.concord.base_url}/{fhir.tenant}/apps")
        await other.get_by_role("button", name=f"Take back the access of The {kind} app").click()
        await expect(other.get_by_text("Its access has ended.")).to_be_visible()
        assert await seen(page, "Observation") not in ([], ["laboratory", "vital-signs"])
        # It tried to renew its access by itself, was refused, and has forgotten both tokens.
        assert await page.evaluate(tokens) == [None, None]


@needs(*BROWSER)
async def test_an_app_whose_keys_are_at_an_address_names_it_in_its_proof(
    server_dsn: str, browser: Browser, apps: Apps
) -> None:
    async with running(server_dsn, outgoing_allow="127.0.0.1") as (concord, clock), httpx.AsyncClient() as http:
        fhir = Client(concord, clock, await tenants.add(concord.db, f"k-{uuid4().hex[:12]}"), http)
        chosen, key = await record(fhir), private_key()
        apps.jwks = public(key)
        address = f"{apps.origin}/jwks.json"
        proof = {"clientPrivateJwk": {**key, "alg": "ES384"}, "clientPublicKeySetUrl": address}
        name = await offered(fhir, apps, "asymmetric", "launch/patient patient/*.rs", {"jwks_uri": address}, **proof)
        async with signed_in(browser, fhir, await somebody(fhir, "clinic-admin")) as page:
            await asking(fhir, page, apps, name)
            await allow(page)
            assert await ready(page) == "ready", await page.evaluate("app.failure")
            assert await page.evaluate("app.client.patient.id") == chosen
            apps.settings[name]["clientPublicKeySetUrl"] = f"{apps.origin}/other.json"
            await asking(fhir, page, apps, name)
            await allow(page)
            assert await ready(page) == "failed"


@needs(*BROWSER)
async def test_a_person_who_does_not_agree_gives_nothing(fhir: Client, browser: Browser, apps: Apps) -> None:
    await record(fhir)
    name = await offered(fhir, apps, "public", "launch/patient patient/*.rs")
    async with signed_in(browser, fhir, await somebody(fhir, "clinic-admin")) as page:
        await asking(fhir, page, apps, name)
        await page.get_by_role("button", name="Do not allow").click()
        assert await ready(page) == "failed"
        assert "access_denied" in await page.evaluate("app.failure")


@needs(*BROWSER)
async def test_an_app_at_an_origin_that_is_not_registered_gets_no_token_from_a_browser(
    fhir: Client, browser: Browser, apps: Apps
) -> None:
    await record(fhir)
    name = await offered(fhir, apps, "public", "launch/patient patient/*.rs")
    sql = "update oauth_client set origins = %s where tenant_id = %s and client_id = %s"
    await fhir.concord.db.fetch(fhir.tenant_id, sql, (["https://elsewhere.example"], fhir.tenant_id, name))
    async with signed_in(browser, fhir, await somebody(fhir, "clinic-admin")) as page:
        await asking(fhir, page, apps, name)
        await allow(page)
        assert await ready(page) == "failed"
        assert "Network request failed" in await page.evaluate("app.failure")


async def enrol(fhir: Client, person: Person, reference: str) -> None:
    await people.enrol(fhir.concord.db, fhir.tenant_id, person.id, "clinic-admin", reference, fhir.clock())
