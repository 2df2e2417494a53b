"""Whatever the text, a message is mapped to valid resources or refused as Unmapped with a reason; nothing else."""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.hl7v2 import decode, parse
from mappings.mapped import SenderProfile, Unmapped
from mappings.to_fhir import to_fhir
from tests.mappings.corpus import corpus_files, needs_corpus, own_files
from tests.mappings.reading import check_valid

OWN = [file.read_bytes() for file in own_files()]
ODD = [
    '""',
    "^",
    "~",
    "&",
    "\\",
    "\\X00\\",
    "\\XFF\\",
    "99999999999999",
    "\x00",
    "\ud800",
    "\u2028",
    "٣",
    "-",
    "1e9",
    " ",
]
SEGMENTS = ["PID", "PV1", "OBR", "OBX", "NTE", "SPM", "ORC", "NK1", "AL1", "DG1", "IN1", "PD1", "PV2", "ZZZ"]
fields = st.lists(st.one_of(st.sampled_from(ODD), st.text(max_size=12)), max_size=40).map("|".join)


def check_mapped_or_refused(text: str) -> None:
    """Map a text; a refusal has reasons, a mapping valid resources."""
    reasons = None
    try:
        check_valid(to_fhir(parse(text), SenderProfile(zone="America/Sao_Paulo")))
    except Unmapped as refused:
        reasons = [issue.diagnostics for issue in refused.issues]
    assert reasons is None or (reasons and all(reasons))


def mutated(text: str, chance: random.Random) -> str:
    """Return the text with a few places broken as senders and wires break them."""
    chars = list(text)
    for _ in range(chance.randint(1, 12)):
        place = chance.randrange(len(chars))
        match chance.randrange(5):
            case 0:
                chars[place] = chance.choice("|^~&\\\r\n" + string.printable)
            case 1:
                chars[place] = chance.choice(ODD)
            case 2:
                del chars[place : place + chance.randrange(30)]
            case 3:
                chars[place:place] = chars[chance.randrange(len(chars)) :][:40]
            case _:
                chars[place:place] = "|" * chance.randrange(1, 5)
        chars = chars or ["M"]
    return "".join(chars)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(OWN), st.randoms(use_true_random=False))
def test_a_broken_message_is_mapped_or_refused(data: bytes, chance: random.Random) -> None:
    check_mapped_or_refused(mutated(decode(data).text, chance))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["ADT^A01", "ADT^A08", "ORU^R01"]),
    st.lists(st.tuples(st.sampled_from(SEGMENTS), fields), min_size=1, max_size=8),
)
def test_any_fields_in_any_segments_are_mapped_or_refused(kind: str, segments: list[tuple[str, str]]) -> None:
    lines = [f"MSH|^~\\&|A|B|||20260101||{kind}|1|P|2.5", "PID|1||1", *(f"{name}|{rest}" for name, rest in segments)]
    check_mapped_or_refused("\r".join(lines))


@given(st.text(max_size=200))
def test_any_text_is_mapped_or_refused(text: str) -> None:
    check_mapped_or_refused(text)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_mapped_or_refused(data: bytes) -> None:
    check_mapped_or_refused(decode(data).text)
    check_mapped_or_refused(decode(OWN[0][:200] + data).text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hello", "the message has no MSH"),
        ("MSH|^~\\&|A|B|||1||ADT^A01|1|P|2.5\rPV1|1|I", "the message has no PID"),
        ("MSH|^~\\&|A|B|||1||DFT^P03|1|P|2.5\rPID|1||1", "there is no map for messages of type DFT^P03"),
        ("MSH|^~\\&|A|B|||1||||P|2.5\rPID|1||1", "there is no map for messages of type no type"),
    ],
)
def test_a_refusal_says_why(text: str, reason: str) -> None:
    with pytest.raises(Unmapped) as refused:
        to_fhir(parse(text), SenderProfile())
    assert reason in refused.value.issues[0].diagnostics
    assert reason in str(refused.value)


def test_a_profile_with_an_unknown_zone_is_refused() -> None:
    with pytest.raises(Unmapped, match="time zone 'Mars/Base'"):
        to_fhir(parse(decode(OWN[0]).text), SenderProfile(zone="Mars/Base"))


@needs_corpus
def test_broken_real_messages_are_mapped_or_refused() -> None:
    for number, file in enumerate(corpus_files()):
        check_mapped_or_refused(mutated(decode(file.read_bytes()).text, random.Random(number)))
    assert len(corpus_files()) > 600
