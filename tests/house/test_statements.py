"""Where a page says which test holds a statement to be true, that test is there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.house.tree import ROOT, functions, parsed

# `http/test_crud::test_name` is a function of tests/http/test_crud.py; a file may also be named whole.
NAMED = re.compile(r"`(?:tests/)?((?:\w+/)+test_\w+)(?:\.py)?(?:::(\w+))?`")
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@cache
def names_in(name: str) -> frozenset[str]:
    """Return the functions of a test file, none where there is no such file."""
    file = ROOT / "tests" / f"{name}.py"
    if not file.exists():
        return frozenset()
    return frozenset(f.name for f in functions(parsed(file.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    named = NAMED.findall(page.read_text(encoding="utf-8"))
    assert [
        f"{file}::{test}" for file, test in named if not names_in(file) or (test and test not in names_in(file))
    ] == []


def test_every_row_of_the_features_and_complaints_names_its_tests() -> None:
    text = (ROOT / "docs" / "fhir.md").read_text(encoding="utf-8")
    _, mark, section = text.partition("\n## Feature by feature\n")
    assert mark
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith(("| what", "|---"))]
    assert len(rows) > 25
    assert [row for row in rows if not any(test for _, test in NAMED.findall(row))] == []
