"""What is installed is what was pinned, and all of it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.tree import PACKAGES, ROOT, modules, short, under

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DIRECT = {
    "runtime": PROJECT["dependencies"],
    "test": PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"],
}
# What another environment's Python runs, by the lock of that environment.
ELSEWHERE = {"tests/clients/smart_on_fhir_session.py": "smart-on-fhir-client"}
PYTHONS = ("3.11.0", "3.12.0", "3.13.0")


def lines(name: str) -> list[str]:
    """Return the logical lines of a requirements file, without comments."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def pins(name: str) -> dict[str, str]:
    """Return the pinned version of each distribution."""
    found = [re.match(r"([A-Za-z0-9._-]+)==(\S+)", line) for line in lines(name)]
    return {canonicalize_name(match[1]): match[2] for match in found if match}


@pytest.mark.parametrize("name", [*DIRECT, *ELSEWHERE.values()])
def test_every_line_is_one_version_with_hashes_and_names_no_place(name: str) -> None:
    shape = re.compile(r"[A-Za-z0-9._-]+==[^\s;@/]+( ;[^@/\\]+)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert [line[:80] for line in lines(name) if not shape.fullmatch(line)] == []
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    assert not re.search(r"://|--(index|extra|find|trusted)|[^\w]/\w", text)


@pytest.mark.parametrize("name", DIRECT)
def test_every_dependency_is_pinned_within_its_range(name: str) -> None:
    pinned = pins(name)
    for requirement in map(Requirement, DIRECT[name]):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement.name


def test_the_tests_run_on_the_very_versions_that_are_shipped() -> None:
    runtime, test = pins("runtime"), pins("test")
    assert {name: test.get(name) for name in runtime} == runtime


@pytest.mark.parametrize("python", PYTHONS)
def test_no_python_asks_for_a_distribution_that_is_not_pinned(python: str) -> None:
    pinned = pins("test")
    minor = python.rpartition(".")[0]
    world = {"python_version": minor, "python_full_version": python, "sys_platform": "linux", "extra": ""}
    asked = {
        canonicalize_name(r.name)
        for name in pinned
        for r in _requires(name)
        if not r.marker or r.marker.evaluate(world)
    }
    assert asked <= set(pinned)


def _requires(name: str) -> list[Requirement]:
    try:
        return [Requirement(line) for line in requires(name) or []]
    except PackageNotFoundError:
        return []


@pytest.mark.parametrize(("name", "folders"), [("runtime", PACKAGES), ("test", ("tests", "tools"))])
def test_every_library_that_is_imported_is_a_declared_dependency(name: str, folders: tuple[str, ...]) -> None:
    declared = {canonicalize_name(Requirement(line).name) for line in DIRECT[name]}
    known = packages_distributions()
    ours = {*PACKAGES, "tests", "tools", *sys.stdlib_module_names}
    undeclared = {
        f"{short(file)}: {top}"
        for file, tree in modules(*folders)
        if short(file) not in ELSEWHERE
        for top in imported(tree) - ours
        if not {canonicalize_name(owner) for owner in known.get(top, [])} & declared
    }
    assert undeclared == set()


def imported(tree: ast.Module) -> set[str]:
    """Return the first names of what a module imports absolutely."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_the_wheel_carries_every_file_of_the_four_packages(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("concord_fhir-*.whl")
    carried = set(zipfile.ZipFile(wheel).namelist())
    assert {short(file) for file in under(*PACKAGES)} - carried == set()
    strange = {name for name in carried if name.split("/")[0] not in PACKAGES and ".dist-info/" not in name}
    assert strange == set()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in carried)
