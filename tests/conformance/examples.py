"""Real resources for the tests of conformance: the specification's package and Synthea's patients, where present."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The first example of a process makes the decoders, and machines that run tests are busy: time is no verdict here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
PACKAGE = SHARED / "packages" / "hl7.fhir.r4.examples-4.0.1.tgz"
SYNTHEA = SHARED / "synthea"
NOT_RESOURCES = {"package.json", ".index.json"}


def package() -> Path:
    """Return the specification's package, or skip the test."""
    if not PACKAGE.exists():
        pytest.skip("the package hl7.fhir.r4.examples stands beside the project only where its data does")
    return PACKAGE


def package_resources() -> Iterator[tuple[str, bytes]]:
    """Yield the resources of the specification's package by file name; skip the test where it is absent."""
    with tarfile.open(package()) as archive:
        for member in archive:
            name = Path(member.name).name
            content = archive.extractfile(member) if name.endswith(".json") and name not in NOT_RESOURCES else None
            if content is not None:
                yield name, content.read()


def synthea_bundles() -> Iterator[tuple[str, bytes]]:
    """Yield the Synthea bundles by file name; skip the test where they are absent."""
    files = sorted(SYNTHEA.glob("*.json")) if SYNTHEA.exists() else []
    if not files:
        pytest.skip("the Synthea bundles stand beside the project only where its data does")
    yield from ((file.name, file.read_bytes()) for file in files)
