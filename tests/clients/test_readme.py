"""README's tour as a newcomer runs it: its very lines, in bash and with curl, against `concord serve --demo`."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.serve import CONCORD, Serve, clean_environ
from tests.house.tree import ROOT
from tests.needs import needs

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)
LOCAL = "http://127.0.0.1:8080"
# A separator after every answer of curl, which prints none between two of them.
SPLIT = 'set -euo pipefail\ncurl() { command curl "$@"; printf "\\036"; }\n'


def blocks(page: Path) -> list[str]:
    """Return the shell lines of a page that call curl."""
    return [block for block in BLOCK.findall(page.read_text(encoding="utf-8")) if "curl" in block]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Give a running server with the demo's data, as README has it."""
    server = Serve(tmp_path_factory.mktemp("readme") / "data", "--demo")
    yield server
    assert server.stop() == 0


def run(script: str, server: Serve) -> list[Any]:
    """Return the JSON of every answer that curl got."""
    path = os.pathsep.join((os.path.dirname(CONCORD), os.environ["PATH"]))
    environ = clean_environ(PATH=path, CONCORD_DATA_DIR=str(server.folder))
    text = SPLIT + script.replace(LOCAL, server.http)
    done = subprocess.run(["bash", "-c", text], env=environ, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(answer) for answer in done.stdout.split("\x1e") if answer.strip()]


@needs("curl")
def test_the_tour_of_readme_answers_what_its_comments_say(demo: Serve) -> None:
    (tour,) = blocks(ROOT / "README.md")
    assert LOCAL in tour
    created, again, found, patched, done, joined, history = run(tour, demo)
    assert (created["name"][0]["family"], created["meta"]["versionId"]) == ("Ångström", "1")
    assert again == created
    assert [e["resource"]["id"] for e in found["entry"]] == [created["id"]]
    assert (patched["id"], patched["gender"], patched["meta"]["versionId"]) == (created["id"], "female", "2")
    assert [e["response"]["status"][:3] for e in done["entry"]] == ["201", "201"]
    observation, patient = (e["resource"] for e in joined["entry"])
    assert observation["subject"]["reference"] == f"Patient/{created['id']}"
    assert patient == patched
    assert [e["resource"]["meta"]["versionId"] for e in history["entry"]] == ["2", "1"]
    assert any(link["relation"] == "next" for link in history["link"])


def test_curl_lines_stand_in_readme_alone_where_they_are_tried() -> None:
    pages = [page for page in (ROOT / "docs").rglob("*.md") if blocks(page)]
    assert pages == []
