"""Signing in as a browser does it: its own headers, cookies and form handling, with script where a page has one."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.browser.driven import PHONE, visitor
from tests.fhir import Client
from tests.needs import needs
from tests.signin import PASSWORD, app_for, somebody


@needs("chromium")
@pytest.mark.parametrize("device", [{}, PHONE], ids=["desk", "phone"])
async def test_a_person_signs_in_with_password_and_code_and_out_again(
    fhir: Client, browser: Browser, device: dict[str, Any]
) -> None:
    person = await somebody(fhir)
    authenticator = await app_for(fhir, person)
    async with visitor(browser, **device) as context:
        page = await context.new_page()
        await page.goto(f"{fhir.concord.base_url}/account")
        await page.get_by_label("E-mail address").fill(person.email)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_label("Code of six digits").fill(authenticator.at(fhir.clock()))
        await page.get_by_label("Code of six digits").press("Enter")
        await expect(page.get_by_role("link", name=person.name)).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await page.get_by_role("button", name="Sign out").first.click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
