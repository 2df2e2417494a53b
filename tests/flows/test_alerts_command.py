"""concord alerts and docs/watching.md: an alert is listed and acknowledged, and recipients are told by mail."""

from __future__ import annotations

import asyncio
import re
import shlex
import uuid
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fhir_server.app import opened
from fhir_server.app.alerts import watch_of
from fhir_server.app.work import jobs
from fhir_server.cli import app
from fhir_server.operations.definition import read
from fhir_server.settings import Settings
from fhir_server.store import alerts, tenants
from fhir_server.store.embedded import EmbeddedPostgres
from tests.mailbox import receiving

runner = CliRunner()
PAGE = Path(__file__).parents[2] / "docs" / "watching.md"


@pytest.fixture
def installed(fresh_name: str, postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Give the environment of an installation with the tenant `north`, and a folder in which commands run."""
    monkeypatch.setenv("CONCORD_DATABASE_URL", postgres.server_dsn(fresh_name))
    monkeypatch.setenv("CONCORD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    told("tenant", "add", "north")
    return Settings.load()


def told(*argv: str, code: int = 0) -> str:
    """Run a command and return what it prints."""
    result = runner.invoke(app, [*argv])
    assert result.exit_code == code, result.output
    return result.output


def stands(settings: Settings, kind: str = "silence") -> None:
    """Have an alert of the channel `lab` stand."""

    async def main() -> None:
        async with opened(settings, str(settings.database_url)) as concord:
            tenant = await tenants.by_name(concord.db, "north")
            assert tenant
            async with concord.db.transaction(tenant.id) as tx:
                await alerts.note(tx, "lab", kind, 1, {"minutes": 130, "allowed": 120}, concord.clock(), more=False)

    asyncio.run(main())


def test_an_alert_is_listed_and_acknowledged_by_its_number(installed: Settings) -> None:
    stands(installed)
    listed = told("alerts", "list", "--tenant", "north")
    assert "Nothing came for 130 expected minutes; 120 are allowed" in listed
    number = re.search(r"│ +(\d+) +│", listed)
    assert number
    assert "acknowledged" in told("alerts", "acknowledge", number[1], "--tenant", "north", "--note", "line down")
    assert "seen by" in told("alerts", "list", "--tenant", "north")
    assert "no alert" in told("alerts", "acknowledge", number[1], "--tenant", "north", code=1)


def test_who_cannot_be_told_is_said_in_a_line(installed: Settings) -> None:
    for argv in (["--email", "nobody"], ["--webhook", "http://10.0.0.1/"]):
        told("alerts", "tell", "--tenant", "north", *argv, code=1)
    told("alerts", "tell", "--tenant", "north", code=2)
    told("alerts", "forget", "nobody@example.org", "--tenant", "north", code=1)


def test_the_commands_of_the_page_work_as_they_stand_there(
    installed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PAGE.read_text()
    Path("lab.json").write_text(text.split("```json\n")[1].split("```")[0])
    lines = [shlex.split(line)[1:] for line in text.split("```sh\n")[1].split("```")[0].splitlines()]
    assert len(lines) == 8
    stands(installed, "test")
    for argv in lines:
        if argv[:2] == ["alerts", "acknowledge"]:
            found = re.search(r"│ +(\d+) +│", told("alerts", "list", "--tenant", "north"))
            assert found
            argv[2] = found[1]
        printed = told(*argv)
        if "--webhook" in argv:
            assert re.search(r"^secret: \S{40,}$", printed, re.M)
        if argv[:2] == ["alerts", "test"]:
            assert printed == "2 recipients get a test\n"


def test_the_definition_of_the_page_is_a_channel(installed: Settings) -> None:
    given = read(PAGE.read_text().split("```json\n")[1].split("```")[0].encode())
    assert given.watch.silence
    assert given.watch.queue_minutes


def test_a_test_reaches_a_mailbox_by_the_worker(installed: Settings) -> None:
    async def main() -> None:
        async with receiving() as box:
            given = installed.evolve(smtp_host="127.0.0.1", smtp_port=box.port, smtp_security="none")
            async with opened(given, str(given.database_url)) as concord:
                await watch_of(concord).look()
                await jobs(concord).drain()
            assert [mail["subject"] for mail in box.mails] == ["[Concord] north: This is a test: alerts reach you"]

    told("alerts", "tell", "--tenant", "north", "--email", f"{uuid.uuid4().hex[:6]}@example.org")
    told("alerts", "test", "--tenant", "north")
    asyncio.run(main())
