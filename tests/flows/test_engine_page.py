"""docs/engine.md as an integration engineer follows it: the very commands of its first section, in their order."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from fhir_server.cli import app
from tests.flows.serve import CONCORD, clean_environ
from tests.house.tree import ROOT
from tests.needs import free_port

PAGE = (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)
SHOWN = re.compile(r"^$\n^```\n(.*?)^```$", re.M | re.S)
NAMED = re.compile(r"`(concord [^`]+)`")
# What the page names and another test may have: the ports.
PORTS = ("8080", "2576")
_PATIENCE = 120.0


def first_section() -> str:
    """Return the page's first section."""
    return PAGE.partition("\n## In fifteen minutes\n")[2].partition("\n## ")[0]


class Terminals:
    """Two terminals: one in which the server runs, one for all other commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {port: str(free_port()) for port in PORTS}
        path = os.pathsep.join((os.path.dirname(CONCORD), os.environ["PATH"]))
        self.environ = clean_environ(PATH=path, CONCORD_DATA_DIR=str(folder / "data"), CONCORD_PORT=self.ports["8080"])
        self.environ["CONCORD_MLLP_TLS_PORT"] = self.ports["2576"]
        self.log = folder / "serve.log"
        self.server: subprocess.Popen[bytes] | None = None

    def run(self, block: str) -> str:
        """Run a block as it stands, but for its ports, and return what it prints; the server goes on by itself."""
        script = "set -euo pipefail\n" + re.sub("|".join(PORTS), lambda found: self.ports[found[0]], block)
        if "concord serve" in script:
            return self._serve(script)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder if "cd lab" in script else self.folder / "lab",
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _serve(self, script: str) -> str:
        argv = ["bash", "-c", script.replace("concord serve", "exec concord serve")]
        with self.log.open("wb") as log:
            self.server = subprocess.Popen(
                argv, cwd=self.folder, env=self.environ, stdout=log, stderr=log, start_new_session=True
            )
        self.until(lambda: "http_port" in self.told())
        return ""

    def told(self) -> str:
        """Return what the server has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def messages(self) -> list[str]:
        """Return the states of the tenant's messages."""
        lines = self.run("concord messages list --tenant north --json").splitlines()
        return [json.loads(line)["state"] for line in lines]

    def until(self, true: Callable[[], bool]) -> None:
        """Wait as a person would before the next step."""
        end = time.monotonic() + _PATIENCE
        while not true():
            assert time.monotonic() < end, self.told()
            assert self.server is None or self.server.poll() is None, self.told()
            time.sleep(0.1)

    def close(self) -> None:
        """Stop the server as Ctrl-C does."""
        if self.server is not None:
            self.server.send_signal(2)
            assert self.server.wait(60) == 0


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    """Give two terminals in a new folder."""
    opened = Terminals(tmp_path)
    yield opened
    opened.close()


def test_the_first_section_takes_an_engineer_from_nothing_to_a_change_that_was_tried(terminals: Terminals) -> None:
    said = []
    for block in BLOCK.findall(first_section()):
        known = terminals.told().count("channels changed") if terminals.server else 0
        said.append(terminals.run(block))
        if "concord channel apply" in block:
            terminals.until(lambda known=known: terminals.told().count("channels changed") > known)  # type: ignore[misc]
        if "concord send" in block or "replay" in block:
            terminals.until(lambda: "received" not in terminals.messages())
    whole = "".join(said)
    assert "Observation.effectiveDateTime: " in whole
    assert "1 of 1 messages would be different" in whole
    assert whole.count("│ AA ") == whole.count("│ AR ") == 1
    assert "rejected" in whole, "what the stranger sent is kept apart"
    assert "1 of 1 messages are queued again" in whole
    shown = SHOWN.findall(first_section())[0].splitlines()
    assert len(shown) >= 3
    assert [line for line in shown if line not in whole] == [], "what the page shows is what is printed"


def options(words: list[str]) -> set[str]:
    """Return the options of the command that these words name; raise where there is no such command."""
    found: Any = typer.main.get_command(app)
    while more := getattr(found, "commands", None):
        found = more[words.pop(0)]
    return {name for parameter in found.params for name in parameter.opts}


@pytest.mark.parametrize("line", sorted({*NAMED.findall(PAGE)}))
def test_a_command_that_the_page_names_is_there_with_its_options(line: str) -> None:
    words = shlex.split(line)
    assert {word for word in words if word.startswith("--")} <= options(words[1:])
