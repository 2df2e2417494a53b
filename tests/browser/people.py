"""A person at a browser: signed in, asked by apps, and what they click."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page, expect

from fhir_server.store.people import Person
from tests.browser.driven import visitor
from tests.fhir import Client
from tests.signin import session_of


@asynccontextmanager
async def signed_in(browser: Browser, fhir: Client, person: Person, **options: Any) -> AsyncIterator[Page]:
    """Give an empty page in the browser of somebody who is signed in."""
    async with visitor(browser, **options) as context:
        url = fhir.concord.base_url
        await context.add_cookies([{"name": "concord-session", "value": await session_of(fhir, person), "url": url}])
        yield await context.new_page()


async def choose_patient(page: Page, name: str) -> None:
    """Look for a patient by name and choose the one that is found."""
    await expect(page.get_by_role("heading", name="Choose a patient")).to_be_visible()
    await page.get_by_label("Name, or its beginning").fill(name)
    await page.get_by_role("button", name="Look").click()
    await page.get_by_role("radio", name=name).check()
    await page.get_by_role("button", name="Choose").click()


async def allow(page: Page) -> None:
    """Agree to what is asked as it stands."""
    await page.get_by_role("button", name="Allow", exact=True).click()


async def ready(page: Page) -> str:
    """Wait until the app has come back, and return its state: ready or failed."""
    await page.wait_for_selector("body[data-state]")
    return await page.evaluate("document.body.dataset.state") or ""
