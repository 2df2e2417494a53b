"""The real and test messages of other projects, where they lie beside the checkout; tests that need them skip else."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT.parent / "shared" / "data" / "hl7v2"
TABLES = ROOT.parent / "shared" / "data" / "v2-to-fhir"
GOLDEN = ROOT / "tests" / "golden"
DEMO = ROOT / "fhir_server" / "demo"
BENCHMARK = ROOT / "tests" / "benchmarks" / "oru_2k5.hl7"

needs_corpus = pytest.mark.skipif(not FOLDER.is_dir(), reason="the corpus of HL7 messages (../shared) is not here")
needs_tables = pytest.mark.skipif(not TABLES.is_dir(), reason="HL7's v2-to-FHIR tables (../shared) are not here")


def own_files() -> list[Path]:
    """Return the messages of this project."""
    return [*sorted(GOLDEN.glob("*.hl7")), *sorted(DEMO.glob("*.hl7")), BENCHMARK]


def corpus_files() -> list[Path]:
    """Return the messages of the corpus."""
    found = (path for path in sorted(FOLDER.rglob("*")) if path.suffix in (".hl7", ".txt"))
    return [path for path in found if "LICENSE" not in path.name]
