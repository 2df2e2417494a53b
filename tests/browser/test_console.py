"""The operator's page in a browser."""

from __future__ import annotations

import re
import uuid

from playwright.async_api import Browser, BrowserContext

from adapters.contract import Peer
from fhir_server.app import Concord, receiver
from fhir_server.store import tenants
from tests.browser.driven import PHONE, visitor
from tests.fhir import Client, running
from tests.needs import needs
from tests.signin import session_of, somebody

CANARY = "Canaryname"
MESSAGE = f"MSH|^~\\&|LAB|N|C|C|20260101120000+0000||ADT^A04|{{id}}|P|2.5.1\rPID|1||77^^^N^MR||{CANARY}^Eva\r"


async def signed_in(context: BrowserContext, client: Client, role: str | None) -> None:
    """Let the browser have a session of a new person: of this role, or a super admin."""
    person = await somebody(client, role, super_admin=role is None)  # type: ignore[arg-type]
    token = await session_of(client, person)
    await context.add_cookies([{"name": "concord-session", "value": token, "url": client.concord.base_url}])


async def messages(concord: Concord, name: str) -> None:
    """Let three messages come in."""
    async with receiver(concord) as door:
        for number in range(3):
            await door.message(MESSAGE.format(id=f"{name}{number}").encode(), Peer("127.0.0.1", 1))


@needs("chromium")
async def test_the_page_counts_messages_by_tenant_and_shows_nothing_of_a_patient(
    server_dsn: str, fhir: Client, browser: Browser
) -> None:
    name = f"console-{uuid.uuid4().hex[:8]}"
    async with running(server_dsn, mllp_tenant=name) as (concord, clock), visitor(browser) as context:
        client = Client(concord, clock, await tenants.add(concord.db, name), fhir.http)
        await messages(concord, name)
        await signed_in(context, client, None)
        page = await context.new_page()
        await page.goto(f"{concord.base_url}/console")
        shown = await page.content()
    row = re.search(rf'<th scope="row"><a href="/{name}/watch">{name}</a></th>(.*?)</tr>', shown, re.S)
    assert row
    assert re.findall(r'<td class="(\w+)">(\d+)</td>', row[1]) == [
        ("received", "3"), ("done", "0"), ("buried", "0"), ("rejected", "0"), ("quarantined", "0")
    ]  # fmt: skip
    assert fhir.tenant in shown
    assert CANARY not in shown


@needs("chromium")
async def test_the_administrator_of_a_clinic_sees_that_clinic_alone(
    fhir: Client, other: Client, browser: Browser
) -> None:
    async with visitor(browser) as context:
        await signed_in(context, fhir, "clinic-admin")
        page = await context.new_page()
        await page.goto(f"{fhir.concord.base_url}/console")
        rows = await page.locator("tbody tr th").all_inner_texts()
    assert rows == [fhir.tenant]


@needs("chromium")
async def test_the_page_runs_no_script_keeps_its_policy_and_fits_a_phone(fhir: Client, browser: Browser) -> None:
    async with visitor(browser, **PHONE) as context:
        await signed_in(context, fhir, "clinic-admin")
        page = await context.new_page()
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        await page.goto(f"{fhir.concord.base_url}/console")
        assert await page.title() == "Concord: messages"
        assert "<script" not in await page.content()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert told == []
