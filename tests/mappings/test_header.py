"""The MSH alone says who sent what; it is read from any bytes, and what is wrong with it is said, never raised."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from mappings.header import header
from tests.mappings.corpus import BENCHMARK

FULL = (
    b"MSH|^~\\&|LAB^1.2.3^ISO|FAC|RAPP|RFAC|20260101120000+0100||ORU^R01^ORU_R01|C-1|P^T|2.5.1^^|||AL|NE|"
    b"|UNICODE UTF-8\r"
)


@given(st.binary(max_size=400))
def test_any_bytes_have_a_header(data: bytes) -> None:
    found = header(data)
    assert found.message_type or found.problems


@given(st.binary(max_size=200))
def test_any_bytes_behind_msh_have_a_header(data: bytes) -> None:
    assert header(b"MSH" + data).codec


def test_every_field_an_engine_needs_is_read() -> None:
    found = header(FULL + b"PID|1")
    assert (found.sender_app, found.sender_facility) == ("LAB", "FAC")
    assert (found.receiver_app, found.receiver_facility) == ("RAPP", "RFAC")
    assert (found.message_type, found.trigger, found.structure) == ("ORU", "R01", "ORU_R01")
    assert (found.control_id, found.processing_id, found.version) == ("C-1", "P", "2.5.1")
    assert (found.accept_ack, found.application_ack) == ("AL", "NE")
    assert (found.timestamp, found.charset, found.codec) == ("20260101120000+0100", "UNICODE UTF-8", "utf-8")
    assert found.raw[3] == "LAB^1.2.3^ISO"
    assert found.problems == ()


def test_a_sender_without_a_name_is_known_by_its_universal_id() -> None:
    assert header(b"MSH|^~\\&|^1.2.3^ISO|^4.5.6^ISO").sender_app == "1.2.3"


def test_the_header_ends_with_its_line() -> None:
    for end in (b"\r", b"\n", b"\r\n"):
        found = header(b"MSH|^~\\&|A|B" + end + b"PID|1")
        assert found.sender_facility == "B"
        assert len(found.raw) == 5


def test_bytes_before_the_header_are_passed_over() -> None:
    for before in (b"\x0b", b"\r\n", b"\xef\xbb\xbf"):
        assert header(before + FULL).control_id == "C-1"
    assert header(FULL.decode().encode("utf-16-le")).control_id == "C-1"


def test_names_are_read_in_the_declared_set() -> None:
    text = "MSH|^~\\&|Labor Süd|F|||1||ADT^A01|1|P|2.5||||||8859/1\r"
    assert header(text.encode("latin-1")).sender_app == "Labor Süd"


def test_no_header_is_a_sequence_error() -> None:
    for data in (b"", b"PID|1", b"hello", b"MSH", b"MSH|"):
        assert [problem.code for problem in header(data).problems] == ["100"]


def test_what_is_missing_is_named_with_its_place() -> None:
    found = {problem.location: problem for problem in header(b"MSH|^~\\&|A|B|||1|||||\r").problems}
    assert found["MSH-9.1"].code == "101"
    assert found["MSH-9.1"].severity == "E"
    assert found["MSH-10"].severity == "W"
    assert found["MSH-12"].code == "203"


def test_a_delimiter_used_twice_is_said() -> None:
    assert [p.location for p in header(b"MSH|^^\\&|A|B|||1||ADT^A01|1|P|2.5").problems] == ["MSH-2"]


def test_reading_a_header_takes_microseconds() -> None:
    data = BENCHMARK.read_bytes()
    best = min(_cpu(data) for _ in range(5))
    assert best < 150e-6, f"{best * 1e6:.0f} µs; the aim is 15, ten times that is a defect"


def _cpu(data: bytes) -> float:
    start = time.process_time()
    for _ in range(200):
        header(data)
    return (time.process_time() - start) / 200
