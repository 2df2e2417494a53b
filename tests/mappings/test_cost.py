"""A message costs what its length warrants, whatever a hostile sender puts into it; a usual one costs little."""

from __future__ import annotations

import time

import pytest

from mappings.hl7v2 import decode, header, order_key, parse
from mappings.mapped import Mapped, Unmapped
from mappings.to_fhir import to_fhir
from tests.mappings.corpus import BENCHMARK
from tests.mappings.reading import BERLIN, PID, entries, oru

HEAD = "MSH|^~\\&|A|B|||20260101||ORU^R01|1|P|2.5\r" + PID + "\r"
SIZE = 200_000
HOSTILE = {
    "blank lines in a field": HEAD + "OBX|1|TX|c||" + "\n" * SIZE + "end",
    "blank lines and blanks": HEAD + "OBX|1|TX|c||" + "\n \t" * (SIZE // 3) + "end",
    "framing before the message": "\x0b" * SIZE + HEAD,
    "headers inside a line": "x" + "MSH|" * (SIZE // 4),
    "blanks before headers inside a line": ("x" + " " * 100 + "MSH|") * (SIZE // 105),
    "repetitions": HEAD.replace("7^^^CLINIC&1.2.3&ISO^MR", "~".join(str(n) for n in range(SIZE // 6))),
    "digits in a range": HEAD + "OBR|1||F|c\rOBX|1|NM|c||" + "1" * SIZE + "||" + "1" * SIZE + "||||F",
    "escape characters": HEAD + "OBX|1|TX|c||" + "\\" * SIZE,
    "components": HEAD + "OBX|1|CE|c||" + "^" * SIZE,
    "comments": HEAD + "OBX|1|NM|c||1||||||F\r" + "NTE|1||x\r" * (SIZE // 20),
    "results and specimens": HEAD
    + "OBR|1||F|c\r"
    + "".join(f"OBX|1|NM|c||1{'|' * 28}S{n}\r" for n in range(2000))
    + "".join(f"SPM|1|S{n}\r" for n in range(2000)),
    "segments without a map": HEAD + "".join(f"ZA{n % 10}|1\r" for n in range(SIZE // 6)),
    "problems": HEAD + "OBX|1|QQ|||x||||||?\r" * (SIZE // 40),
}


@pytest.mark.parametrize("what", sorted(HOSTILE))
def test_a_hostile_message_costs_what_its_length_warrants(what: str) -> None:
    text = HOSTILE[what]
    start = time.process_time()
    message = parse(text)
    assert message.encode() == text
    order_key(message)
    header(text.encode())
    _map(text)
    spent = time.process_time() - start
    assert spent < 5, f"{spent:.1f} s of CPU for {len(text)} characters"


def _map(text: str) -> Mapped | None:
    try:
        return to_fhir(parse(decode(text.encode()).text), BERLIN)
    except Unmapped:
        return None


def test_no_message_has_more_problems_than_anybody_reads() -> None:
    found = _map(HOSTILE["problems"])
    assert found is not None
    assert len(found.issues) == 501
    assert "more problems" in found.issues[-1].diagnostics


def test_no_field_has_more_repetitions_than_any_sender_means() -> None:
    found = _map(HOSTILE["repetitions"])
    assert found is not None
    assert len(entries(found, "Patient")[0].resource["identifier"]) == 500
    assert "the first 500 are mapped" in found.issues[0].diagnostics


def test_many_lines_of_comment_are_one_text() -> None:
    found = oru("OBR|1||F|c", "OBX|1|NM|c||1||||||F", *["NTE|1||x"] * 1000)
    assert entries(found, "Observation")[0].resource["note"] == [{"text": "\n".join("x" * 1000)}]


def test_the_usual_message_costs_milliseconds() -> None:
    data = BENCHMARK.read_bytes()
    best = min(_cpu(data) for _ in range(5))
    assert best < 20e-3, f"{best * 1e3:.1f} ms; the aim is 2, ten times that is a defect"


def _cpu(data: bytes) -> float:
    start = time.process_time()
    for _ in range(10):
        to_fhir(parse(decode(data).text), BERLIN)
    return (time.process_time() - start) / 10
