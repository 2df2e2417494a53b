"""docs/sources.md as an integration engineer follows it: the very commands, in their order."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from fhir_server.operations.definition import read
from fhir_server.operations.polled import Fhir, Folder
from tests.flows.test_engine_page import BLOCK, NAMED, Terminals, options
from tests.house.tree import ROOT

PAGE = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return a section of the page."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    """Give two terminals in a new folder, which is where both begin."""
    opened = Terminals(tmp_path)
    (tmp_path / "lab").symlink_to(tmp_path)
    yield opened
    opened.close()


def test_the_section_of_folders_takes_a_file_and_shows_its_answer(terminals: Terminals) -> None:
    start, leave, look = BLOCK.findall(section("A folder"))
    terminals.run(start)
    terminals.run(leave)
    failed = terminals.folder / "drop" / "north" / "lab" / "failed"
    terminals.until(lambda: failed.is_dir() and len(list(failed.iterdir())) == 2)
    terminals.until(lambda: "received" not in terminals.messages())
    said = terminals.run(look)
    assert "MSA|AA|700311" in said
    assert "MSA|AR|700312" in said
    assert "BTS|2|2 messages, 1 refused, 0 known before" in said
    assert sorted(terminals.messages()) == ["done", "rejected"]


def test_the_definition_of_a_fhir_server_that_the_page_shows_can_be_used() -> None:
    [shown] = re.findall(r"^```json\n(.*?)^```$", section("A FHIR server of others"), re.M | re.S)
    assert isinstance(read(shown.encode()).source, Fhir)
    for name in (*Fhir.__struct_fields__, *Folder.__struct_fields__):
        assert f"`{name}`" in PAGE


@pytest.mark.parametrize("line", sorted({*NAMED.findall(PAGE)}))
def test_a_command_that_the_page_names_is_there(line: str) -> None:
    assert options(shlex.split(line)[1:])
