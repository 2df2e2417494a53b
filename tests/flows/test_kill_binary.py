"""kill -9 while contents are sent: what was acknowledged is there to the byte, and what was not does no harm."""

from __future__ import annotations

import asyncio
import random
from hashlib import sha256
from pathlib import Path

import httpx

from tests.flows.serve import Serve, concord, left_behind

KILLS = 3
SENDERS = 4
BETWEEN = 12  # contents that are accepted between two kills
SIZES = (1000, 200_000, 3 << 20)


class Senders:
    """Clients that send contents of their own, and note what was accepted."""

    def __init__(self, seed: int) -> None:
        self.accepted: dict[str, bytes] = {}
        self.address = ""
        self.done = False
        self._seed = seed

    async def run(self, number: int, token: str) -> None:
        """Send until told to stop; a request that breaks off is forgotten, as a client that gives up does."""
        random_ = random.Random(self._seed * 100 + number)
        headers = {"authorization": f"Bearer {token}", "content-type": "image/png"}
        async with httpx.AsyncClient(timeout=30, headers=headers) as http:
            while not self.done:
                content = random_.randbytes(random_.choice(SIZES))
                try:
                    answer = await http.post(f"{self.address}/demo/fhir/Binary", content=content)
                except httpx.HTTPError:
                    await asyncio.sleep(0.05)
                    continue
                if answer.status_code == 201:
                    self.accepted[answer.json()["id"]] = sha256(content).digest()

    async def more(self, count: int) -> None:
        """Wait until so many more are accepted."""
        wanted = len(self.accepted) + count
        while len(self.accepted) < wanted:
            await asyncio.sleep(0.01)


async def test_every_accepted_content_is_there_to_the_byte(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    server = await asyncio.to_thread(Serve, folder, "--demo")
    port = server.ready["http_port"]
    token = await asyncio.to_thread(server.token)
    senders = Senders(1)
    senders.address = server.http
    tasks = [asyncio.create_task(senders.run(n, token)) for n in range(SENDERS)]
    async with asyncio.timeout(240):
        for _ in range(KILLS):
            await senders.more(BETWEEN)
            await asyncio.to_thread(server.kill)
            server = await asyncio.to_thread(lambda: Serve(folder, "--demo", port=port))
        await senders.more(BETWEEN)
    senders.done = True
    await asyncio.gather(*tasks)
    async with httpx.AsyncClient(timeout=60, headers={"authorization": f"Bearer {token}"}) as http:
        for name, digest in senders.accepted.items():
            answer = await http.get(f"{server.http}/demo/fhir/Binary/{name}")
            assert (answer.status_code, sha256(answer.content).digest()) == (200, digest)
    swept = await asyncio.to_thread(concord, "sweep", "--data-dir", str(folder))
    assert swept.stdout.startswith("0 contents"), "nothing is older than the grace"
    assert await asyncio.to_thread(server.stop) == 0
    assert left_behind(folder) == []
