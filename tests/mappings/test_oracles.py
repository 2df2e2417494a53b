"""Two other parsers read the same values at the same places, where they read the message at all."""

from __future__ import annotations

from pathlib import Path

import hl7
import pytest
from hl7apy.parser import parse_segment

from mappings.delimiters import DEFAULT
from mappings.hl7v2 import Message, Segment, decode, parse
from tests.mappings.corpus import corpus_files, needs_corpus, own_files

# hl7apy drops a component that a later version withdrew, so it is asked as of 2.5
SINCE_2_6 = {("NTE", 5), ("NTE", 6)}


def readable(message: Message) -> bool:
    """Tell whether the other parsers can be asked: of messages that begin with a full MSH and the usual delimiters."""
    first = message.segments[0] if message.segments else None
    return first is not None and first.text.startswith("MSH|" + DEFAULT.encoding + "|") and len(first.fields) > 4


def check_against_hl7(file: Path) -> int:
    """Compare every field, repetition and component with python-hl7; return how many were compared."""
    message = parse(decode(file.read_bytes()).text)
    if not readable(message) or any("\n" in segment.text or "\r" in segment.text for segment in message.segments):
        return 0
    other = hl7.parse("\r".join(segment.text for segment in message.segments))
    assert len(other) == len(message.segments), file
    return sum(_same_fields(ours, theirs, file) for ours, theirs in zip(message.segments, other, strict=True))


def _same_fields(ours: Segment, theirs: hl7.Segment, file: Path) -> int:
    compared = 0
    for number in range(1, len(ours.fields)):
        assert ours.field(number) == str(theirs[number]), f"{file}: {ours.id}-{number}"
        if ours.id == "MSH" and number <= 2:
            continue
        for place, repetition in enumerate(ours.repetitions(number), 1):
            components = repetition.split("^")
            for component in range(1, len(components) + 1):
                raw = ours.raw(number, place, component)
                found = theirs[number][place - 1] if isinstance(theirs[number], hl7.Field) else theirs[number]
                other = found[component - 1] if isinstance(found, hl7.Repetition) else found
                first = str(other[0]) if isinstance(other, hl7.Component) else str(other)
                assert raw == first, f"{file}: {ours.id}-{number}[{place}].{component}"
                compared += 1
    return compared


@pytest.mark.parametrize("file", own_files(), ids=lambda path: path.stem)
def test_python_hl7_reads_our_messages_alike(file: Path) -> None:
    compared = check_against_hl7(file)
    assert compared > 20 or file.stem == "adt_odd_delimiters"


@needs_corpus
def test_python_hl7_reads_the_corpus_alike() -> None:
    assert sum(check_against_hl7(file) for file in corpus_files()) > 25_000


@pytest.mark.parametrize("file", own_files(), ids=lambda path: path.stem)
def test_hl7apy_reads_the_fields_of_our_segments_alike(file: Path) -> None:
    message = parse(decode(file.read_bytes()).text)
    if not readable(message):
        assert file.stem == "adt_odd_delimiters"
        return
    for segment in message.segments:
        if segment.id in ("MSH", "OBX") or segment.id.startswith("Z"):
            continue  # hl7apy needs the whole message for MSH's delimiters and for OBX-2, and does not know Z segments
        theirs = parse_segment(segment.text, version="2.5")
        for number in range(1, len(segment.fields)):
            if segment.field(number) and (segment.id, number) not in SINCE_2_6:
                name = f"{segment.id.lower()}_{number}"
                said = "~".join(field.to_er7() for field in getattr(theirs, name))
                assert said == segment.field(number), f"{file}: {name}"
