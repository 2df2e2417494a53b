"""The operator page in a browser."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

from playwright.async_api import Browser

from adapters.contract import Peer
from fhir_server.app import receiver
from fhir_server.store import tenants
from tests.browser.chromium import shown
from tests.browser.driven import PHONE, visitor
from tests.fhir import Client, running
from tests.needs import needs

CANARY = "Canaryname"
MESSAGE = f"MSH|^~\\&|LAB|N|C|C|20260101120000+0000||ADT^A04|{{id}}|P|2.5.1\rPID|1||77^^^N^MR||{CANARY}^Eva\r"


@needs("chromium")
async def test_the_page_counts_messages_by_tenant_and_shows_nothing_of_a_patient(
    server_dsn: str, tmp_path: Path
) -> None:
    name = f"console-{uuid.uuid4().hex[:8]}"
    async with running(server_dsn, mllp_tenant=name) as (concord, _):
        await tenants.add(concord.db, name)
        async with receiver(concord) as door:
            for number in range(3):
                await door.message(MESSAGE.format(id=f"{name}{number}").encode(), Peer("127.0.0.1", 1))
        page = await shown(f"{concord.base_url}/console", tmp_path)
    row = re.search(rf'<th scope="row">{name}</th>(.*?)</tr>', page, re.S)
    assert row
    assert re.findall(r'<td class="(\w+)">(\d+)</td>', row[1]) == [
        ("received", "3"), ("done", "0"), ("buried", "0"), ("rejected", "0")
    ]  # fmt: skip
    assert CANARY not in page


@needs("chromium")
async def test_the_page_runs_no_script(server_dsn: str, tmp_path: Path) -> None:
    async with running(server_dsn) as (concord, _):
        page = await shown(f"{concord.base_url}/console", tmp_path)
    assert "<title>Concord: messages</title>" in page
    assert "<script" not in page


@needs("chromium")
async def test_the_page_keeps_its_policy_and_fits_a_phone(fhir: Client, browser: Browser) -> None:
    async with visitor(browser, **PHONE) as context:
        page = await context.new_page()
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        await page.goto(f"{fhir.concord.base_url}/console")
        assert await page.inner_text("h1") == "Concord"
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert told == []
