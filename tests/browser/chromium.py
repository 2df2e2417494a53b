"""A real browser without a window: what a page becomes when it is shown."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.needs import program

# It would otherwise look for its maker's hosts at every start.
_QUIET = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync",
          "--disable-component-update")  # fmt: skip


async def shown(url: str, profile: Path, *flags: str) -> str:
    """Return the document that a headless Chromium made of the page, after its style and script."""
    found = program("chromium")
    assert found
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    argv = [found, "--headless", *sandbox, *_QUIET, *flags, f"--user-data-dir={profile}", "--dump-dom", url]
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    document, _ = await asyncio.wait_for(process.communicate(), 60)
    return document.decode()
