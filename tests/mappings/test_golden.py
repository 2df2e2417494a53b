"""Each message of tests/golden maps to what stands beside it; `python tools/golden.py` writes it anew for review."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance import structures
from mappings.hl7v2 import decode, parse
from mappings.mapped import encode
from mappings.to_fhir import to_fhir
from tests.mappings.corpus import BENCHMARK, DEMO, GOLDEN, own_files
from tests.mappings.reading import BERLIN, check_valid
from tools.golden import expected


@pytest.mark.parametrize("message", sorted(GOLDEN.glob("*.hl7")), ids=lambda path: path.stem)
def test_a_golden_message_maps_to_what_stands_beside_it(message: Path) -> None:
    assert expected(message.read_bytes()) == message.with_suffix(".json").read_bytes()


@pytest.mark.parametrize("message", own_files(), ids=lambda path: path.stem)
def test_what_a_message_maps_to_is_valid(message: Path) -> None:
    check_valid(to_fhir(parse(decode(message.read_bytes()).text), BERLIN))


@pytest.mark.parametrize("message", own_files(), ids=lambda path: path.stem)
def test_the_same_message_maps_to_the_same_entries(message: Path) -> None:
    text = decode(message.read_bytes()).text
    assert to_fhir(parse(text), BERLIN) == to_fhir(parse(text), BERLIN)


def test_the_demo_says_nothing_that_cannot_be_mapped() -> None:
    files = sorted(DEMO.glob("*.hl7"))
    assert len(files) >= 5
    assert [issue for file in files for issue in to_fhir(parse(file.read_text()), BERLIN).issues] == []


def test_the_benchmarks_message_makes_fourteen_resources() -> None:
    data = BENCHMARK.read_bytes()
    found = to_fhir(parse(decode(data).text), BERLIN)
    kinds = [entry.resource["resourceType"] for entry in found.entries]
    assert 2400 <= len(data) <= 2600
    assert (len(kinds), kinds.count("Observation"), found.issues) == (14, 10, [])
    for entry in found.entries:
        structures.decode(entry.resource["resourceType"], encode(entry.resource))
