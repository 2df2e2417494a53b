"""A real browser that a test drives: Debian's Chromium without a window, by Playwright.

Its pages are its user's: it takes no notice of what a test knows, and a test sees only what a user would.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from tests.needs import program

# A small phone of today: what does not fit is seen by the page being wider than this.
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
_QUIET = ("--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update")
# How long a page may take on a machine that does much else; what is there sooner is not waited for.
_PATIENCE_MS = 60_000
expect.set_options(timeout=_PATIENCE_MS)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Give a running Chromium; it ends with the block."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program("chromium"), chromium_sandbox=os.geteuid() != 0, args=list(_QUIET)
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visitor(browser: Browser, **options: Any) -> AsyncIterator[BrowserContext]:
    """Give one person's browser: cookies and storage of its own. `**PHONE` makes it a phone's."""
    context = await browser.new_context(**options)
    context.set_default_timeout(_PATIENCE_MS)
    try:
        yield context
    finally:
        await context.close()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Give a browser to drive; the test is marked @needs("chromium")."""
    async with chromium() as running:
        yield running
