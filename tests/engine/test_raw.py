"""concord messages show: the bytes as they came, and text that steers no terminal."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from fhir_server.app import opened
from fhir_server.app.work import receiver
from fhir_server.cli import app
from fhir_server.commands.shown import shown
from fhir_server.settings import Settings
from fhir_server.store import tenants
from fhir_server.store.embedded import EmbeddedPostgres
from tests.engine.world import PEER, adt

TEXT = base64.b64encode(Random(3).randbytes(100_000))
LARGE = adt("1").replace(b"PV1|", b"OBX|1|ED|PDF^Scan^L||LAB^AP^PDF^Base64^" + TEXT + b"\rPV1|")
WILD = adt("[/red]2", app="[bold]\x1b[31m", family="\x1b]0;owned\x07[/]\u202eevil")


@pytest.fixture
async def stored(fresh_name: str, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have a large message and a wild one in the inbox of an installation that commands find."""
    monkeypatch.setenv("CONCORD_DATABASE_URL", postgres.server_dsn(fresh_name))
    monkeypatch.setenv("CONCORD_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CONCORD_MLLP_TENANT", "north")
    async with opened(Settings.load(), postgres.server_dsn(fresh_name)) as concord:
        await tenants.add(concord.db, "north")
        async with receiver(concord) as door:
            intake = door.large(PEER)
            for start in range(0, len(LARGE), 10_000):
                await intake.feed(LARGE[start : start + 10_000])
            assert b"MSA|AA" in (await intake.end(b"") or b"")
            assert b"MSA|AA" in (await door.message(WILD, PEER) or b"")


async def told(*argv: str) -> AsyncIterator[bytes]:
    """Give what a command prints."""
    done = await asyncio.to_thread(CliRunner().invoke, app, ["messages", *argv, "--tenant", "north"])
    assert done.exit_code == 0, done.output
    yield done.stdout_bytes


async def test_a_message_is_shown_and_comes_out_as_it_came(stored: None) -> None:
    assert [out async for out in told("show", "1", "--raw")] == [LARGE]
    assert [out async for out in told("show", "2", "--raw")] == [WILD]
    (human,) = [out.decode() async for out in told("show", "1")]
    assert f"Document 1: {len(TEXT)} bytes" in human
    assert TEXT[:40].decode() not in human


async def test_n42_what_a_sender_writes_neither_styles_nor_steers_a_terminal(stored: None) -> None:
    for argv in (("list",), ("show", "2")):
        (out,) = [out async for out in told(*argv)]
        assert b"\x1b" not in out
        assert b"\x07" not in out
        assert "\u202e" not in out.decode()
    (out,) = [out async for out in told("show", "2")]
    assert b"MSH|^~\\&|[bold]\\x1b[31m|" in out
    assert b"|[/red]2|" in out


def test_line_ends_and_tabs_stay() -> None:
    assert shown("a\n\tb").plain == "a\n\tb"
    assert shown(None).plain == ""
