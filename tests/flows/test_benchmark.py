"""The benchmark at its smallest: it fills a server, measures every case, and its figures become the table of the docs.

What the figures are is not asked here: they are another machine's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.cases import Cases
from tests.flows.serve import clean_environ

ROOT = Path(__file__).parents[2]


def benchmark(*argv: str) -> str:
    """Run it to its end and return what it printed."""
    line = [sys.executable, "-m", "tests.benchmarks", *argv]
    done = subprocess.run(line, capture_output=True, text=True, env=clean_environ(), cwd=ROOT, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a filled server, with the figures of a run in `figures.json`."""
    place = tmp_path_factory.mktemp("benchmark")
    given = ("--data-dir", str(place / "filled"), "--out", str(place / "figures.json"))
    benchmark("--resources", "10000", "--scale", "0.001", *given)
    return place


def figures_of(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))


def test_every_case_is_measured_at_ten_thousand_resources_and_shown_beside_its_bar(folder: Path) -> None:
    figures = figures_of(folder / "figures.json")
    assert figures["resources"] >= 10_000
    cases = Cases("", 1).all()
    measured = {(row["case"], row["concurrency"]): row for row in figures["rows"]}
    assert {(case.name, clients) for case in cases for clients in case.clients} <= set(measured)
    assert {name.partition(" ")[0] for name, _ in measured} >= {"MLLP", "create", "update", "transaction", "read"}
    assert all(row["cpu_ms"] == round(row["server_ms"] + row["postgres_ms"], 3) for row in measured.values())
    table = benchmark(str(folder / "figures.json"), str(folder / "figures.json")).splitlines()
    assert table[0].startswith(f"| operation | clients | {figures['resources']:,} | {figures['resources']:,} |")
    assert len(table) == 2 + len(measured)


def test_a_folder_that_was_filled_before_is_used_as_it_is(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.json"
    given = ("--data-dir", str(folder / "filled"), "--out", str(out))
    benchmark("--resources", "90000", "--scale", "0", *given)
    assert figures_of(folder / "figures.json")["resources"] <= figures_of(out)["resources"] < 90_000
