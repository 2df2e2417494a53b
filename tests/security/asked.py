"""Everything asked by everybody, once for all tests of a module."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from structlog.testing import capture_logs

from fhir_server.app import opened
from fhir_server.settings import Settings
from tests.security import matrix
from tests.security.world import Principal, Sent, World


class Asked(msgspec.Struct):
    """What came of it all."""

    results: dict[str, matrix.Result]
    unchanged: bool
    statement: bytes
    logged: str

    def findings(self, name: str) -> list[str]:
        """Return the first rules that answers to somebody broke, as text."""
        found = self.results[name].findings
        return [f"{f.kind}: {f.sent.method} {f.sent.path}?{f.sent.query} {f.told}" for f in found[:5]]


class Kept(logging.Handler):
    """Keeps what the libraries log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(record.getMessage())


def asked_by(dsn: str, principals: Callable[[World], Awaitable[list[Principal]]]) -> Asked:
    """Fill a world and let all of these ask."""
    kept = Kept()
    logging.getLogger().addHandler(kept)
    try:
        with tempfile.TemporaryDirectory(prefix="concord-objects-") as objects, capture_logs() as logged:
            found = asyncio.run(_asked(dsn, Path(objects), principals))
    finally:
        logging.getLogger().removeHandler(kept)
    found.logged = f"{logged} {kept.lines}"
    return found


async def _asked(dsn: str, objects: Path, principals: Callable[[World], Awaitable[list[Principal]]]) -> Asked:
    # Slow searches are logged with their plans: here every one that takes a moment is.
    settings = {"object_store": objects.as_uri(), "refusals_per_minute": 1_000_000, "slow_search_ms": 1}
    async with opened(Settings.load(env="test", **settings), dsn) as concord:
        world = World(concord)
        await world.fill()
        everybody = await principals(world)
        before = await world.fingerprint()
        results = {one.name: await matrix.run(world, one) for one in everybody}
        statement = await world.ask(None, Sent("GET", "/metadata"))
        return Asked(results, await world.fingerprint() == before, statement.body, "")
