"""Watching in a running installation: its processes count together, and its worker finds silence and sends mail."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.flows.serve import Serve, concord
from tests.mailbox import receiving

LAB = {
    "name": "sim",
    "accepts": {"senders": [["SIM", "SIM"]]},
    "watch": {"buried": 1, "emails": ["it@example.org"]},
}
_WITHIN = 120.0


async def until(told: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(_WITHIN):
        while not told():
            await asyncio.sleep(0.1)


async def test_processes_count_together_and_the_worker_finds_what_is_wrong_and_tells_of_it(tmp_path: Path) -> None:
    folder, file = tmp_path / "data", tmp_path / "sim.json"
    file.write_text(json.dumps(LAB))
    async with receiving() as box:
        mail = {"smtp_host": "127.0.0.1", "smtp_port": str(box.port), "smtp_security": "none"}
        serve = await asyncio.to_thread(Serve, folder, watch_seconds="1", poll_interval="0.5", **mail)
        try:
            run = lambda *argv: asyncio.to_thread(concord, *argv, "--data-dir", str(folder))  # noqa: E731
            await run("tenant", "add", "north")
            await run("channel", "apply", str(file), "--tenant", "north")
            port = serve.mllp.rpartition(":")[2]
            # A visit can be mapped, a charge cannot.
            argv = ("--count", "12", "--rate", "0", "--seed", "2", "--patients", "2", "--types", "ADT,DFT", "--json")
            sent = await asyncio.to_thread(concord, "simulate", "--port", port, *argv)
            summary = json.loads(sent.stdout)
            assert summary["codes"] == {"AA": 12}
            assert summary["types"]["DFT^P03"] > 0

            def counted(state: str) -> int:
                found = re.search(
                    rf'^concord_messages_total{{channel="sim",state="{state}",tenant="north"}} (\d+)',
                    httpx.get(f"{serve.http}/metrics").text, re.M,
                )  # fmt: skip
                return int(found[1]) if found else 0

            await until(lambda: counted("received") == 12 == counted("done") + counted("buried"))
            assert counted("buried") == summary["types"]["DFT^P03"]
            await until(lambda: len(box.mails) >= 1)
            assert (box.recipients[0], "buried" in str(box.mails[0]["subject"])) == (["it@example.org"], True)
            listed = await run("alerts", "list", "--tenant", "north")
            assert "buried" in listed.stdout
        finally:
            await asyncio.to_thread(serve.stop)
