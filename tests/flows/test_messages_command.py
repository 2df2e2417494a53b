"""concord messages: messages are found by their fields, as an integration engineer looks for them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fhir_server.app import jobs as jobs_of
from fhir_server.app import messages as worker_of
from fhir_server.app import opened
from fhir_server.cli import app
from fhir_server.engine.channel import catch_all
from fhir_server.settings import Settings
from fhir_server.store import tenants
from fhir_server.store.embedded import EmbeddedPostgres
from tests.engine.world import PEER, adt, receiver

runner = CliRunner()


@pytest.fixture
def dsn(fresh_name: str, postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the environment of an installation whose tenant has messages: five done, one of them buried."""
    monkeypatch.setenv("CONCORD_DATABASE_URL", postgres.server_dsn(fresh_name))
    monkeypatch.setenv("CONCORD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CONCORD_LOG_LEVEL", "error")
    told("tenant", "add", "north")
    asyncio.run(_filled(postgres.server_dsn(fresh_name)))
    return postgres.server_dsn(fresh_name)


async def _filled(dsn: str) -> None:
    async with opened(Settings.load(), dsn) as concord:
        tenant = await tenants.by_name(concord.db, "north")
        assert tenant
        door = receiver(concord.db, catch_all(tenant, "his"), hasher=concord.service.hasher, clock=concord.clock)
        for n in range(4):
            await door.message(adt(f"A{n}", str(n % 2)), PEER)
        await door.message(adt("BAD", "9").replace(b"ADT^A01^ADT_A01", b"ADT^A99"), PEER)
        await worker_of(concord).drain()


def told(*argv: str, code: int = 0) -> str:
    """Run a command and return what it prints."""
    result = runner.invoke(app, [*argv])
    assert result.exit_code == code, result.output
    return result.output


def listed(*filters: str) -> list[Any]:
    """Return the messages that the list has, as JSON."""
    lines = told("messages", "list", "--tenant", "north", "--json", *filters).splitlines()
    return [json.loads(line) for line in lines]


def ids(*filters: str) -> list[str]:
    """Return the control ids of a list."""
    return [row["control_id"] for row in listed(*filters)]


def test_messages_are_listed_by_their_fields(dsn: str) -> None:
    assert ids() == ["BAD", "A3", "A2", "A1", "A0"]
    assert ids("--patient", "NORTH|1") == ["A3", "A1"]
    assert ids("--state", "buried", "--channel", "his", "--since", "2h") == ["BAD"]
    assert ids("--type", "ADT^A01", "--sender", "HIS/NORTH", "--limit", "2") == ["A3", "A2"]
    assert ids("--until", "1h") == []
    (row,) = listed("--control-id", "A2")
    assert ids("--before", str(row["id"])) == ["A1", "A0"]
    assert "patient NORTH|0" in told("messages", "show", str(row["id"]), "--tenant", "north")
    word = listed("--state", "buried")[0]["reason"][0]["diagnostics"].split()[0]
    assert ids("--error", word) == ["BAD"]


@pytest.mark.parametrize("wrong", [("--state", "lost"), ("--since", "soon"), ("--until", "2026-13-01")])
def test_a_filter_that_cannot_be_used_is_told(dsn: str, wrong: tuple[str, str]) -> None:
    told("messages", "list", "--tenant", "north", *wrong, code=2)


def test_that_an_operator_saw_messages_is_audited(dsn: str) -> None:
    ids("--patient", "1")
    found = told("audit", "export", "--tenant", "north")
    assert "message-list" in found


def test_a_search_is_replayed_in_the_background_and_tells_how_far_it_is(dsn: str) -> None:
    assert "replays" in told("messages", "replay", "--tenant", "north", "--state", "done", "--patient", "0")
    asyncio.run(_jobs(dsn))
    assert ids("--state", "received") == ["A2", "A0"]
    assert "done" in told("messages", "replays", "--tenant", "north")
    told("messages", "replay", "--tenant", "north", code=1)
    told("messages", "release", str(listed()[0]["id"]), "--tenant", "north", code=1)


async def _jobs(dsn: str) -> None:
    async with opened(Settings.load(), dsn) as concord:
        await jobs_of(concord).drain()


def test_what_would_go_is_told_first(dsn: str) -> None:
    assert "0 messages would go" in told("messages", "retain", "--dry-run")
    assert "0 messages are gone" in told("messages", "retain")
