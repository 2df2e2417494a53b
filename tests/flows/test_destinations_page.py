"""docs/destinations.md as an operator follows it: its definition is taken, and each command does what it says."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fhir_server.app import opened
from fhir_server.app.deliveries import deliverer
from fhir_server.app.work import messages
from fhir_server.cli import app
from fhir_server.engine.directory import Directory
from fhir_server.settings import Settings
from fhir_server.store import tenants
from fhir_server.store.embedded import EmbeddedPostgres
from tests.engine.world import PEER, adt, receiver
from tests.house.tree import ROOT

PAGE = (ROOT / "docs" / "destinations.md").read_text(encoding="utf-8")
runner = CliRunner()


@pytest.fixture
def concord(fresh_name: str, postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the database of an installation with a tenant and a secret."""
    dsn = postgres.server_dsn(fresh_name)
    monkeypatch.setenv("CONCORD_DATABASE_URL", dsn)
    monkeypatch.setenv("CONCORD_DATA_DIR", str(tmp_path / "data"))
    told("concord tenant add north")
    return dsn


def told(command: str, given: str | None = None, code: int = 0) -> str:
    """Run a command of the page and return what it prints."""
    result = runner.invoke(app, command.split()[1:], input=given)
    assert result.exit_code == code, result.output
    return result.output


def commands() -> list[str]:
    """Return the commands of the page, in their order."""
    return re.findall(r"`(concord [^`]+)`", PAGE)


async def _sent(dsn: str) -> None:
    """Take a message that goes nowhere, for its receiver is not allowed, and try to send it."""
    async with opened(Settings.load(env="test"), dsn) as installation:
        directory = Directory(installation.db, await tenants.quarantine(installation.db))
        await directory.look()
        north = await tenants.by_name(installation.db, "north")
        assert north
        channel = await directory.named(north.id, "adt")
        await receiver(installation.db, channel, clock=installation.clock).message(adt("1", event="A08"), PEER)
        await messages(installation).drain()
        sends = deliverer(installation)
        await sends.drain()
        await sends.aclose()


def test_the_definition_of_the_page_is_taken_and_shown_as_it_is(concord: str, tmp_path: Path) -> None:
    (definition,) = re.findall(r"```json\n(.*?)```", PAGE, re.S)
    file = tmp_path / "adt.json"
    file.write_text(definition)
    told(f"concord channel apply {file} --tenant north")
    shown = json.loads(told("concord channel show adt --tenant north"))
    assert [one["name"] for one in shown["destinations"]] == ["ehr", "registry", "his", "archive"]
    table = told("concord deliveries destinations --tenant north --json").splitlines()
    assert {json.loads(line)["sends"] for line in table} == {"yes"}


def test_every_command_of_the_page_does_what_it_says(concord: str, tmp_path: Path) -> None:
    file = tmp_path / "adt.json"
    ehr = {"kind": "mllp", "name": "ehr", "host": "127.0.0.1", "port": 9}
    file.write_text(json.dumps({"name": "adt", "destinations": [ehr]}))
    told(f"concord channel apply {file} --tenant north")
    asyncio.run(_sent(concord))
    said = {
        "list": "held",
        "show": "MSH|^~\\&|HIS|NORTH",
        "retry": "1 deliveries are due again",
        "cancel": "1 deliveries are cancelled",
        "destinations": "ehr",
        "pause": "adt/ehr: paused",
        "resume": "adt/ehr: sends",
    }
    found = [command for command in commands() if command.startswith("concord deliveries ") and "--tenant" in command]
    assert {command.split()[2] for command in found} == said.keys()
    for command in found:
        if "--state held --destination" in command:
            asyncio.run(_held_again(concord))
        assert said[command.split()[2]] in told(command)
    told("concord deliveries retry --tenant north", code=1)
    told("concord deliveries show 99 --tenant north", code=1)
    told("concord deliveries list --state lost --tenant north", code=2)


async def _held_again(dsn: str) -> None:
    async with opened(Settings.load(env="test"), dsn) as installation:
        sends = deliverer(installation)
        await sends.drain()
        await sends.aclose()


def test_a_secret_is_set_listed_without_its_value_and_removed(concord: str, tmp_path: Path) -> None:
    given = [command for command in commands() if command.startswith("concord secret ")]
    assert [command.split()[2] for command in given] == ["set", "list", "remove"]
    assert told(given[0], "xyzzy\n") == "his-token: set\n"
    shown = told(given[1])
    assert "his-token" in shown
    assert "xyzzy" not in shown
    assert told(given[2]) == "his-token: removed\n"
    told(given[2], code=1)
    told("concord secret set x --tenant north", "", code=1)
