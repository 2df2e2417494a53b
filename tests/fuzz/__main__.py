"""Fuzz a server for some minutes and tell what was found: `python -m tests.fuzz --minutes 10`."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import structlog
import typer

from fhir_server.app import opened
from fhir_server.settings import Settings
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.migrate import migrate
from tests.fuzz.world import World

_ENDLESS = 1 << 60


async def fuzzed(dsn: str, seed: int, minutes: float, tasks: int) -> World:
    """Return the world after so many minutes."""
    with tempfile.TemporaryDirectory(prefix="concord-fuzz-") as folder:
        settings = Settings.load(env="test", data_dir=folder)
        return await _fuzzed(settings, dsn, seed, minutes, tasks)


async def _fuzzed(settings: Settings, dsn: str, seed: int, minutes: float, tasks: int) -> World:
    async with opened(settings, dsn) as concord:
        world = World(concord)
        structlog.configure(processors=[world.heard])
        await world.prepare(f"fuzz-{seed}")
        until = time.monotonic() + minutes * 60
        await asyncio.gather(*(world.run(seed + n, _ENDLESS, until) for n in range(tasks)))
        await world.settle()
        return world


def main(
    minutes: Annotated[float, typer.Option(help="How long.")] = 10.0,
    seed: Annotated[int | None, typer.Option(help="Where chance begins; told at the start.")] = None,
    tasks: Annotated[int, typer.Option(help="Requests at one time.")] = 4,
) -> None:
    """Fuzz a server of its own on a PostgreSQL of its own. Exit status 1 if anything was found."""
    seed = secrets.randbelow(1 << 31) if seed is None else seed
    print(f"seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="concord-fuzz-"))
    folder.chmod(0o711)
    try:
        with EmbeddedPostgres(folder / "data", {"fsync": "off"}) as server:
            migrate(server.admin_dsn(), server.server_dsn(), today=datetime.now(UTC).date())
            world = asyncio.run(fuzzed(server.server_dsn(), seed, minutes, tasks))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for finding in world.findings.values():
        print(finding, end="\n\n")
    told = ", ".join(f"{count} × {status}" for status, count in sorted(world.statuses.items()))
    print(f"{world.statuses.total()} requests: {told}; slowest {world.slowest:.2f} s; {len(world.findings)} findings")
    sys.exit(1 if world.findings else 0)


if __name__ == "__main__":
    typer.run(main)
