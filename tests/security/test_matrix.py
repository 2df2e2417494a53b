"""The permission matrix: every type, every route, whoever asks; no answer shows, counts or changes what it must not.

It reads the server's own table of interactions, so that a new route or type is asked for, or fails here.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from conformance.structures import STORABLE
from fhir_server.app import opened
from fhir_server.interactions.table import TABLE
from fhir_server.settings import Settings
from tests.security import matrix
from tests.security.principals import NAMES, principals
from tests.security.probes import READS, WRITES
from tests.security.world import NOT_WRITTEN, WORD, Sent, World, rows


class Asked(msgspec.Struct):
    """What came of it all."""

    results: dict[str, matrix.Result]
    unchanged: bool
    statement: bytes
    logged: str


class Kept(logging.Handler):
    """Keeps what the libraries log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(record.getMessage())


@pytest.fixture(scope="module")
def asked(server_dsn: str) -> Asked:
    """Ask everything once, for all tests of this module."""
    kept = Kept()
    logging.getLogger().addHandler(kept)
    with tempfile.TemporaryDirectory(prefix="concord-objects-") as objects, capture_logs() as logged:
        found = asyncio.run(_asked(server_dsn, Path(objects)))
    logging.getLogger().removeHandler(kept)
    found.logged = f"{logged} {kept.lines}"
    return found


async def _asked(dsn: str, objects: Path) -> Asked:
    # Slow searches are logged with their plans: here every one that takes a moment is.
    settings = {"object_store": objects.as_uri(), "refusals_per_minute": 1_000_000, "slow_search_ms": 1}
    async with opened(Settings.load(env="test", **settings), dsn) as concord:
        world = World(concord)
        await world.fill()
        results = {p.name: await matrix.run(world, p) for p in await principals(world)}
        statement = await world.ask(None, Sent("GET", "/metadata"))
        return Asked(results, await world.fingerprint() == world.before, statement.body, "")


@pytest.mark.parametrize("name", NAMES)
def test_no_answer_shows_counts_or_does_what_it_must_not(asked: Asked, name: str) -> None:
    findings = asked.results[name].findings
    assert [f"{f.kind}: {f.sent.method} {f.sent.path}?{f.sent.query} {f.told}" for f in findings[:5]] == []
    assert asked.results[name].asked > 800


def test_whoever_may_see_everything_sees_everything_by_these_very_requests(asked: Asked) -> None:
    assert asked.results["system"].seen == set(rows("here"))


def test_a_patient_sees_all_of_the_own_record(asked: Asked) -> None:
    own = {row for row in rows("here") if row.owner == "one"}
    assert own <= asked.results["patient"].seen


def test_nothing_that_was_to_be_refused_was_written(asked: Asked) -> None:
    assert asked.unchanged


def test_no_line_of_the_log_holds_a_word_of_any_record(asked: Asked) -> None:
    assert "slow search" in asked.logged
    assert WORD.findall(asked.logged.encode()) == []


def test_every_interaction_of_the_table_is_asked() -> None:
    assert set(READS) | set(WRITES) == {(row.method, row.shape) for row in TABLE}


def test_what_the_capability_statement_offers_is_what_is_asked(asked: Asked) -> None:
    [rest] = msgspec.json.decode(asked.statement)["rest"]
    offered = {item["code"] for resource in rest["resource"] for item in resource["interaction"]}
    offered |= {item["code"] for item in rest["interaction"]}
    assert offered - {"batch"} <= {row.code for row in TABLE}
    named = {f"${op['name']}" for resource in [rest, *rest["resource"]] for op in resource.get("operation", ())}
    assert named == {row.shape[-1] for row in TABLE if row.code == "operation"}
    assert {resource["type"] for resource in rest["resource"]} == set(STORABLE)
    assert len(rest["compartment"]) == 5


def test_every_type_stands_in_the_world() -> None:
    assert {row.type for row in rows("here")} | NOT_WRITTEN == set(STORABLE)
