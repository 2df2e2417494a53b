"""kill -9 of `concord serve` at random moments while messages come in: what was acknowledged is mapped, exactly once.

The parts by themselves are killed in test_loss.py.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import httpx
import pytest

from adapters.mllp import NoAnswer, Sender
from tests.flows.serve import Serve, left_behind

MESSAGES = 300
CONNECTIONS = 8
KILLS = 2
TEMPLATE = (
    "MSH|^~\\&|LAB|NORTH|CONCORD|CLINIC|20260105120000+0000||ORU^R01^ORU_R01|{n}|P|2.5.1\r"
    "PID|1||K{n}^^^NORTH^MR||Kill{n}^Nine||19700101|F\r"
    "OBR|1||F{n}^LAB|718-7^Hemoglobin^LN|||20260105113000+0000|||||||||||||||20260105115500+0000||HM|F\r"
    "OBX|1|NM|718-7^Hemoglobin^LN||13.{d}|g/dL^^UCUM|12-16||||F|||20260105113000+0000\r"
)


class Line:
    """A sender that holds on to its message until it is accepted, as an interface engine does."""

    def __init__(self, ports: list[int]) -> None:
        self.ports, self.accepted = ports, 0
        self.queue = iter(range(MESSAGES))

    async def run(self) -> None:
        """Send until the queue is empty."""
        sender, port = None, 0
        for number in self.queue:
            message = TEMPLATE.format(n=number, d=number % 10).encode()
            while True:
                if sender is None or port != self.ports[0]:
                    port = self.ports[0]
                    sender = Sender("127.0.0.1", port, connect=1, answer=5)
                try:
                    answer = await sender.send(message)
                except (NoAnswer, OSError, TimeoutError):
                    await asyncio.sleep(0.05)
                    continue
                if b"MSA|AA" in answer:
                    self.accepted += 1
                    break
                await asyncio.sleep(0.05)
        if sender is not None:
            await sender.close()


async def killed_and_restarted(folder: Path, ports: list[int], moments: random.Random, line: Line) -> Serve:
    """Kill the server a few times while the line is busy, and return the one that runs at the end."""
    server = await asyncio.to_thread(Serve, folder, "--demo")
    ports[0] = server.ready["mllp_port"]
    for kill in range(KILLS):
        while line.accepted < MESSAGES * (kill + moments.random()) / KILLS:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(server.kill)
        server = await asyncio.to_thread(Serve, folder, "--demo")
        ports[0] = server.ready["mllp_port"]
    return server


async def mapped(server: Serve, http: httpx.AsyncClient) -> dict[str, int]:
    """Wait until no message waits, and return the message counts by state."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        answer = await http.get(f"{server.http}/demo/api/messages/counts")
        assert answer.status_code == 200, answer.text
        counts: dict[str, int] = answer.json()
        if not counts.get("received"):
            return counts
        await asyncio.sleep(0.1)
    raise AssertionError("the queue did not empty")


@pytest.mark.parametrize("seed", [1])
async def test_every_accepted_message_is_mapped_exactly_once(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "data"
    ports = [1]
    line = Line(ports)
    moments = random.Random(seed)
    killing = asyncio.create_task(killed_and_restarted(folder, ports, moments, line))
    sending = [asyncio.create_task(line.run()) for _ in range(CONNECTIONS)]
    await asyncio.gather(*sending)
    server = await killing
    headers = {"authorization": f"Bearer {await asyncio.to_thread(server.token)}"}
    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
        counts = await mapped(server, http)
        assert counts.get("buried", 0) == 0
        versions: dict[str, str] = {}
        url = f"{server.http}/demo/fhir/DiagnosticReport?_count=500"
        while url:
            page = (await http.get(url)).json()
            for entry in page.get("entry", []):
                for identifier in entry["resource"]["identifier"]:
                    if identifier["value"].startswith("F"):
                        assert identifier["value"] not in versions, "a report was made twice"
                        versions[identifier["value"]] = entry["resource"]["meta"]["versionId"]
            url = next((item["url"] for item in page["link"] if item["relation"] == "next"), "")
    assert line.accepted == MESSAGES
    assert {f"F{n}" for n in range(MESSAGES)} <= set(versions)
    assert set(versions.values()) == {"1"}
    assert await asyncio.to_thread(server.stop) == 0
    assert left_behind(folder) == []
