"""What CI runs is what README tells and what a hand can run."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.house.tree import ROOT
from tests.needs import PROGRAMS

CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
README_COMMAND = "pip install -e '.[test]' && pytest"


def test_ci_runs_the_test_command_of_readme() -> None:
    assert README_COMMAND in (ROOT / "README.md").read_text(encoding="utf-8")
    install, run = README_COMMAND.split(" && ")
    assert re.search(rf"^pip install (-q )?{re.escape(install.removeprefix('pip install '))}$", CI, re.M)
    assert re.search(rf"^{run}$", CI, re.M)


@pytest.mark.parametrize("verb", ["format", "lint", "type", "layers"])
def test_ci_runs_every_verb_of_the_house(verb: str) -> None:
    loop = re.search(r"for verb in (.+); do", CI)
    assert loop
    assert verb in loop[1].split()


@pytest.mark.parametrize("script", [".ci/run", "tools/verbs"])
def test_a_script_stops_at_the_first_failure_and_may_be_run(script: str) -> None:
    file = ROOT / script
    assert file.read_text(encoding="utf-8").splitlines()[0] == "#!/usr/bin/env bash"
    assert "\nset -euo pipefail\n" in file.read_text(encoding="utf-8")
    assert os.access(file, os.X_OK)
    assert subprocess.run(["bash", "-n", str(file)], check=False).returncode == 0


def test_an_unknown_verb_is_refused_with_the_list(tmp_path: Path) -> None:
    done = subprocess.run([str(ROOT / "tools" / "verbs"), "dance"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "fmt|format|lint|type|layers" in done.stderr


def test_ci_has_no_standard_input_and_works_outside_of_the_tree() -> None:
    assert "exec </dev/null" in CI
    assert "mktemp -d" in CI
    assert "trap " in CI


def test_ci_installs_the_servers_that_the_tests_need() -> None:
    installed = re.search(r"^system=\(([^)]*)\)", CI, re.M)
    assert installed
    servers = {p[0] for name, p in PROGRAMS.items() if _is_needed(name) and p[0].endswith("-server")}
    assert servers <= set(installed[1].split())


def test_ci_installs_node_where_it_is_missing_and_packages_as_they_are_locked() -> None:
    assert "|| system+=(nodejs npm)" in CI
    lock = json.loads((ROOT / "tests" / "clients" / "package-lock.json").read_text(encoding="utf-8"))
    own = json.loads((ROOT / "tests" / "clients" / "package.json").read_text(encoding="utf-8"))
    packages = {name: of for name, of in lock["packages"].items() if name}
    assert lock["packages"][""]["dependencies"] == own["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in own["dependencies"].values())
    assert all(of["integrity"].startswith("sha512-") and "resolved" not in of for of in packages.values())


def _is_needed(component: str) -> bool:
    asks = re.compile(rf"""needs\([^)]*["']{component}["']""")
    tests = [f for f in (ROOT / "tests").rglob("test_*.py") if "house" not in f.parts]
    return any(asks.search(file.read_text(encoding="utf-8")) for file in tests)
