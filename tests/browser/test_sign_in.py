"""Signing in as people do: in a browser, with an authenticator app, with a security key, on a phone, by keyboard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, BrowserContext, Page

from fhir_server.store import factors, people, tenants
from fhir_server.store.people import Person
from tests.browser.driven import PHONE, visitor
from tests.fhir import Client, running
from tests.needs import needs
from tests.signin import PASSWORD, QUICK, app_of, somebody

AUTHENTICATOR: dict[str, Any] = {
    "protocol": "ctap2",
    "transport": "usb",
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
async def named(server_dsn: str) -> AsyncIterator[Client]:
    """Return a client of a server at a host name: browsers let no key be used at an address."""
    settings = {**QUICK, "base_url": "http://localhost:{port}"}
    async with running(server_dsn, **settings) as (concord, clock), httpx.AsyncClient() as http:
        tenant = await tenants.add(concord.db, f"t-{concord.settings.port}-{id(http):x}")
        yield Client(concord, clock, tenant, http)


async def ask(page: Page, client: Client, person: Person) -> None:
    """Give address and password."""
    await page.goto(f"{client.concord.base_url}/login")
    await page.get_by_label("E-mail address").fill(person.email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


async def a_key(context: BrowserContext, page: Page) -> None:
    """Plug a security key into the browser."""
    session = await context.new_cdp_session(page)
    await session.send("WebAuthn.enable")
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})


@needs("chromium")
async def test_an_app_is_set_up_on_a_phone_and_its_page_keeps_the_policy(named: Client, browser: Browser) -> None:
    person = await somebody(named)
    async with visitor(browser, **PHONE) as context:
        page = await context.new_page()
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        await ask(page, named, person)
        assert await page.get_by_role("heading", level=1).inner_text() == "Set up a second factor"
        assert await page.locator("svg.qr").bounding_box()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await page.get_by_label("Code of six digits").fill(app_of(await page.content()).at(named.clock()))
        await page.get_by_role("button", name="Add the app").click()
        assert await page.locator(".codes li").count() == 10
        await page.get_by_role("link", name="I have kept them").click()
        await page.get_by_role("heading", name=person.name).wait_for()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert told == []


@needs("chromium")
async def test_a_security_key_is_added_and_then_lets_its_owner_in(named: Client, browser: Browser) -> None:
    person = await somebody(named)
    async with visitor(browser) as context:
        page = await context.new_page()
        await a_key(context, page)
        await ask(page, named, person)
        await page.get_by_label("What you call it").fill("Blue key")
        await page.get_by_role("button", name="Add the key").click()
        await page.get_by_role("link", name="I have kept them").click()
        assert "Blue key" in await page.content()
        await page.get_by_role("button", name="Sign out", exact=True).click()
        await ask(page, named, person)
        await page.get_by_role("button", name="Use the key").click()
        await page.get_by_role("heading", name=person.name).wait_for()
    [key] = await factors.of_person(named.concord.db, person.id)
    assert key.kind == "webauthn"
    assert key.used is not None
    assert key.counter > 0


@needs("chromium")
async def test_a_key_of_somebody_else_does_not_let_in(named: Client, browser: Browser) -> None:
    owner, thief = await somebody(named), await somebody(named)
    async with visitor(browser) as context:
        page = await context.new_page()
        await a_key(context, page)
        await ask(page, named, owner)
        await page.get_by_role("button", name="Add the key").click()
        await page.get_by_role("link", name="I have kept them").click()
        [key] = await factors.of_person(named.concord.db, owner.id)
        async with named.concord.db.transaction(None) as tx:
            factors.add_key(tx, thief.id, "Theirs", b"another credential", key.public_key or b"", 0, named.clock())
        await page.get_by_role("button", name="Sign out", exact=True).click()
        await ask(page, named, thief)
        await page.get_by_role("button", name="Use the key").click()
        await page.get_by_text("did not answer").wait_for()
        await page.goto(f"{named.concord.base_url}/account")
        assert await page.get_by_role("heading", level=1).inner_text() == "Sign in"


@needs("chromium")
async def test_the_way_in_works_by_keyboard_alone(named: Client, browser: Browser) -> None:
    person = await people.by_id(named.concord.db, (await somebody(named)).id)
    assert person
    async with visitor(browser) as context:
        page = await context.new_page()
        await page.goto(f"{named.concord.base_url}/login")
        await page.keyboard.press("Tab")
        await page.keyboard.type(person.email)
        await page.keyboard.press("Tab")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Set up a second factor").wait_for()
        for field in await page.locator("input:not([type=hidden])").all():
            label = await field.evaluate("(one) => one.labels.length")
            assert label == 1
