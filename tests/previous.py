"""The version before this one, N−1: the commit and the schema it was released with, as `previous.json` records them."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("fhir_server", "adapters", "mappings", "conformance")


class Previous(msgspec.Struct, frozen=True):
    """A commit, and the newest revision of the schema at it."""

    commit: str
    revision: str


def previous() -> Previous:
    """Return what is recorded; a release records the one it replaces."""
    return msgspec.json.decode((ROOT / "tests" / "previous.json").read_bytes(), type=Previous)


def unpacked(folder: Path) -> Path:
    """Return a folder with the code of the version before; skip where the history of the project is not at hand."""
    file = folder / "previous.tar"
    argv = ["git", "-C", str(ROOT), "archive", "-o", str(file), previous().commit, "--", *PACKAGES]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError:
        pytest.skip("the version before is taken from the history of the project, and there is no git")
    if done.returncode:
        pytest.skip(f"the version before is not in the history at hand: {done.stderr.strip()[:200]}")
    with tarfile.open(file) as archive:
        archive.extractall(folder / "previous", filter="data")
    return folder / "previous"
