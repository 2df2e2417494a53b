"""The page of a clinic's channels in a browser: pictures without a script, on a phone, for those who may see it."""

from __future__ import annotations

import json
from datetime import timedelta

from playwright.async_api import Browser, expect

from fhir_server.engine.channel import Channel
from fhir_server.engine.figures import Figures
from fhir_server.operations import channels
from fhir_server.operations.channels import Editor
from fhir_server.store import alerts
from fhir_server.store.figures import Waiting, waited
from tests.browser.driven import PHONE
from tests.browser.people import signed_in
from tests.engine.world import PEER, adt, receiver
from tests.fhir import Client
from tests.needs import needs
from tests.signin import somebody

LAB = {
    "name": "lab",
    # Other tests share this database: their messages are not this channel's.
    "accepts": {"senders": [["NOBODY", "NOWHERE"]]},
    "watch": {
        "silence": [{"minutes": 120, "days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "18:00"}]
    },
}


async def filled(fhir: Client) -> None:
    """Have a day behind a channel: messages done and buried, some that wait, and an alert that stands."""
    db, now = fhir.concord.db, fhir.clock()
    await channels.apply(db, Editor(fhir.tenant_id, "ada", "tests", now), [json.dumps(LAB).encode()])
    door = receiver(db, Channel("lab", fhir.tenant_as_named()), clock=fhir.clock)
    await door.message(adt("1", family="Canaryname"), PEER)
    await door.figures.flush()
    for hours in range(24):
        moment = now - timedelta(hours=hours, minutes=20)
        counting = Figures(db, lambda m=moment: m)  # type: ignore[misc]
        counting.count(fhir.tenant_id, "lab", "done", 40 + 25 * (hours % 7))
        if hours % 5 == 2:
            counting.count(fhir.tenant_id, "lab", "buried", 6 + hours)
            counting.count(fhir.tenant_id, "lab", "error:required", 6 + hours)
        await counting.flush()
        async with db.transaction(fhir.tenant_id) as tx:
            waited(tx, "lab", Waiting(1, moment - timedelta(seconds=30 * (hours % 9))), moment)
    async with db.transaction(fhir.tenant_id) as tx:
        detail = {"minutes": 125, "allowed": 120}
        await alerts.note(tx, "lab", "silence", 1, detail, now, more=False)


@needs("chromium")
async def test_a_phone_shows_a_day_in_pictures_without_a_script_and_nothing_of_a_patient(
    fhir: Client, browser: Browser
) -> None:
    await filled(fhir)
    async with signed_in(browser, fhir, await somebody(fhir, "clinic-admin"), **PHONE) as page:
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        await page.goto(f"{fhir.concord.base_url}/{fhir.tenant}/watch")
        await expect(page.get_by_role("heading", name="lab", exact=True)).to_be_visible()
        shown = await page.content()
        for words in (
            "Nothing came for 125 expected minutes",
            "every 120 min, mon tue wed thu fri 08:00–18:00",
            "required",
        ):
            assert words in shown
        pictures = page.get_by_role("img")
        assert await pictures.count() == 2
        assert "failed in 24 hours" in (await pictures.first.get_attribute("aria-label") or "")
        assert await page.locator("rect.done").count() == 24
        assert await page.locator("rect.buried").count() == 5
        assert await page.evaluate("getComputedStyle(document.querySelector('rect.done')).fill") != "rgb(0, 0, 0)"
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert "<script" not in shown
        assert "Canaryname" not in shown
        assert told == []


@needs("chromium")
async def test_an_alert_is_taken_care_of_by_a_button(fhir: Client, browser: Browser) -> None:
    await filled(fhir)
    async with signed_in(browser, fhir, await somebody(fhir, "clinic-admin")) as page:
        await page.goto(f"{fhir.concord.base_url}/{fhir.tenant}/watch")
        await page.get_by_role("button", name="Take care of alert").click()
        await expect(page.get_by_text("Somebody takes care of it")).to_be_visible()
        assert await page.get_by_role("button", name="Take care of alert").count() == 0
    (alert,) = await alerts.standing(fhir.concord.db, fhir.tenant_id)
    assert alert.acknowledged is not None


@needs("chromium")
async def test_only_administrators_of_the_clinic_and_of_the_installation_see_the_page(
    fhir: Client, other: Client, browser: Browser
) -> None:
    address = f"{fhir.concord.base_url}/{fhir.tenant}/watch"
    for client, role, status in ((fhir, "physician", 403), (other, "clinic-admin", 403), (fhir, "clinic-admin", 200)):
        async with signed_in(browser, fhir, await somebody(client, role)) as page:  # type: ignore[arg-type]
            answer = await page.goto(address)
            assert answer
            assert answer.status == status
    async with signed_in(browser, fhir, await somebody(fhir, None, super_admin=True)) as page:
        answer = await page.goto(address)
        assert answer
        assert answer.status == 200
