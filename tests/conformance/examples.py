"""Real resources for the tests of conformance: the specification's package and Synthea's patients, where present."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
PACKAGE = SHARED / "packages" / "hl7.fhir.r4.examples-4.0.1.tgz"
SYNTHEA = SHARED / "synthea"
NOT_RESOURCES = {"package.json", ".index.json"}


def package() -> Path:
    """Return the specification's package, or skip the test."""
    if not PACKAGE.exists():
        pytest.skip("the package hl7.fhir.r4.examples stands beside the project only where its data does")
    return PACKAGE


@cache
def package_resources() -> dict[str, bytes]:
    """Return the resources of the specification's package by file name; skip the test where it is absent."""
    with tarfile.open(package()) as archive:
        found = {Path(m.name).name: archive.extractfile(m) for m in archive if m.isfile()}
        return {n: f.read() for n, f in found.items() if f and n.endswith(".json") and n not in NOT_RESOURCES}


def named_type(data: bytes) -> str:
    """Return the resource type that a file names."""
    return str(json.loads(data)["resourceType"])


def synthea_bundles() -> Iterator[tuple[str, bytes]]:
    """Yield the Synthea bundles by file name; skip the test where they are absent."""
    files = sorted(SYNTHEA.glob("*.json")) if SYNTHEA.exists() else []
    if not files:
        pytest.skip("the Synthea bundles stand beside the project only where its data does")
    yield from ((file.name, file.read_bytes()) for file in files)
