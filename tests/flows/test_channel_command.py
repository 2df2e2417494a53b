"""concord channel: definitions as files, versions, and states, as an integration engineer uses them."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from fhir_server.cli import app
from fhir_server.store.embedded import EmbeddedPostgres

runner = CliRunner()


@pytest.fixture
def concord(fresh_name: str, postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the environment of an installation with a tenant, and a folder for files."""
    monkeypatch.setenv("CONCORD_DATABASE_URL", postgres.server_dsn(fresh_name))
    monkeypatch.setenv("CONCORD_DATA_DIR", str(tmp_path / "data"))
    told("tenant", "add", "north")
    return tmp_path


def told(*argv: str, code: int = 0) -> str:
    """Run a command and return what it prints."""
    result = runner.invoke(app, [*argv])
    assert result.exit_code == code, result.output
    return result.output


def test_a_channel_is_applied_from_a_file_shown_and_rolled_back(concord: Path) -> None:
    file = concord / "lab.json"
    file.write_text(json.dumps({"name": "lab", "accepts": {"types": ["ORU^R01"]}}))
    assert told("channel", "apply", str(file), "--tenant", "north") == "lab: version 1\n"
    file.write_text(json.dumps({"name": "lab", "accepts": {"types": ["ORU"]}}))
    assert told("channel", "apply", str(file), "--tenant", "north", "--note", "any ORU") == "lab: version 2\n"
    assert json.loads(told("channel", "show", "lab", "--tenant", "north")) == json.loads(file.read_text())
    assert "any ORU" in told("channel", "history", "lab", "--tenant", "north")
    assert told("channel", "promote", "lab", "--tenant", "north") == "lab: version 1 works\n"
    assert told("channel", "pause", "lab", "--tenant", "north") == "lab: paused (was running)\n"
    assert "paused" in told("channel", "list", "--tenant", "north")
    assert told("channel", "drain", "lab", "--tenant", "north") == "lab: draining (was paused)\n"
    assert told("channel", "resume", "lab", "--tenant", "north") == "lab: running (was draining)\n"


def test_what_cannot_be_done_is_said_in_a_line(concord: Path) -> None:
    file = concord / "bad.json"
    file.write_text("{")
    for argv in (
        ["apply", str(file)],
        ["apply", str(concord / "none.json")],
        ["show", "x"],
        ["promote", "x"],
        ["pause", "x"],
    ):
        told("channel", *argv, "--tenant", "north", code=1)


def test_how_a_folder_fares_is_shown_beside_its_definition(
    concord: Path, fresh_name: str, postgres: EmbeddedPostgres
) -> None:
    file = concord / "files.json"
    file.write_text(json.dumps({"name": "files", "source": {"kind": "folder", "path": "lab"}}))
    told("channel", "apply", str(file), "--tenant", "north")
    assert "last look" not in told("channel", "show", "files", "--tenant", "north")
    row = "insert into channel_poll (tenant_id, channel, looked, failures, failed, failure) values"
    with psycopg.connect(postgres.admin_dsn(fresh_name), autocommit=True) as admin:
        admin.execute(f"{row} (1, 'files', '2026-03-01Z', 2, '2026-03-02Z', 'the disk is full')".encode())
    shown = runner.invoke(app, ["channel", "show", "files", "--tenant", "north"])
    assert json.loads(shown.stdout) == json.loads(file.read_text())
    assert "last trouble: 2026-03-02 00:00:00, 2 in a row: the disk is full" in shown.stderr
    assert "last look: 2026-03-01 00:00:00; 0 came in all" in shown.stderr
