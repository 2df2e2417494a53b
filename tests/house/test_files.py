"""What stands in the project's files: no machine's paths, no download hosts, decisions and pages in their form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.tree import ROOT, files, short

# Written in halves, for this file is held to the same rule.
HOSTS = ("pypi.org", "pythonhosted.org", "npmjs.org", "npmjs.com", "crates.io", "golang.org/", "repo1.maven")
HOSTS += ("deb.debian.org", "docker.io", "ghcr.io", "quay.io", "packages.fhir.org", "githubusercontent")
PATHS = re.compile(r"(?<![\w.])/(work|root|opt/wheels|tmp/v|home/\w+)/" r"\w")
HEADINGS = ["Context", "Decision", "Status", "Consequences"]


def readable() -> list[tuple[Path, str]]:
    """Return the files small enough to be written by people, but for this one."""
    small = [file for file in files() if file.stat().st_size < 2_000_000 and file != Path(__file__)]
    return [(file, file.read_text(encoding="utf-8", errors="replace")) for file in small]


def test_no_file_names_a_package_index_or_a_download_host() -> None:
    found = {short(file): host for file, text in readable() for host in HOSTS if host in text}
    assert found == {}


def test_no_file_names_a_path_of_one_machine() -> None:
    found = {short(file): match[0] for file, text in readable() if (match := PATHS.search(text))}
    assert found == {}


def test_no_file_is_meant_for_one_machine_alone() -> None:
    assert [
        short(f) for f in files() if f.name in (".env", ".DS_Store", "dump.rdb") or f.suffix in (".pyc", ".log")
    ] == []


def test_the_folder_holds_what_a_newcomer_expects() -> None:
    for name in ("README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "docs/README.md", ".ci/run"):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("adr", sorted((ROOT / "docs" / "adr").glob("*.md")), ids=lambda p: p.stem)
def test_every_decision_has_the_four_headings_and_fits_a_page(adr: Path) -> None:
    text = adr.read_text(encoding="utf-8")
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", adr.name)
    assert text.startswith("# ")
    assert [h for h in re.findall(r"^## (.+)$", text, re.M) if h in HEADINGS] == HEADINGS
    assert len(text.splitlines()) <= 60


def test_no_two_decisions_have_one_number() -> None:
    numbers = [adr.name[:4] for adr in (ROOT / "docs" / "adr").glob("*.md")]
    assert len(numbers) == len(set(numbers))


def test_the_index_of_the_docs_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = [p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md") if p.name != "README.md"]
    assert [page for page in sorted(pages) if f"({page})" not in index] == []


def test_the_index_calls_every_decision_by_its_number_and_title() -> None:
    adrs = sorted((ROOT / "docs" / "adr").glob("*.md"))
    titles = {adr: adr.read_text(encoding="utf-8").splitlines()[0] for adr in adrs}
    assert [int(title.removeprefix("# ").partition(".")[0]) for title in titles.values()] == [
        int(adr.name[:4]) for adr in adrs
    ]
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8").splitlines()
    told = [f"- [{adr.name[:4]}](adr/{adr.name}) {title.partition('. ')[2]}" for adr, title in titles.items()]
    assert [line for line in index if "](adr/" in line] == told


def test_every_link_between_the_projects_pages_leads_somewhere() -> None:
    for file, text in readable():
        if file.suffix == ".md":
            for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
                assert (file.parent / target).exists(), f"{short(file)}: {target}"


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.startswith("# Changelog\n")
    assert "## [Unreleased]" in text
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= {
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    }
