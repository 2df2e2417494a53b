"""A short run of the fuzzer, always the same one; `python -m tests.fuzz` is the long one, of a new seed each time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from fhir_server.app import opened
from fhir_server.settings import Settings
from tests.fuzz.world import World

REQUESTS = 400


@pytest.fixture
def _logs() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("_logs")
@pytest.mark.parametrize("seed", [1, 7])
async def test_no_request_brings_a_fault_a_hang_or_anothers_record(server_dsn: str, seed: int, tmp_path: Path) -> None:
    async with opened(Settings.load(env="test", data_dir=tmp_path), server_dsn) as concord:
        world = World(concord)
        structlog.configure(processors=[world.heard])
        await world.prepare(f"fuzz-{seed}-{secrets.token_hex(4)}")
        await asyncio.gather(*(world.run(seed + n, REQUESTS) for n in range(2)))
        await world.settle()
    assert not world.findings, f"seed {seed}\n" + "\n\n".join(map(str, world.findings.values()))
    # It gets past the first checks: reads, writes and refusals of all kinds were answered.
    assert {200, 201, 400, 404} <= set(world.statuses)
