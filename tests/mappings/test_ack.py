"""An acknowledgement speaks the sender's version, delimiters and character set, and says what was wrong and where."""

from __future__ import annotations

from datetime import UTC, datetime

import hl7
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.ack import AckCode, AckError, ack
from mappings.header import header
from mappings.hl7v2 import parse

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ERRORS = [AckError("PID-3[2].4.1", "204", "nobody has | this number"), AckError("MSH-12", "203", "too new", "W")]


def message(version: str, rest: str = "") -> bytes:
    return f"MSH|^~\\&|APP^1.2^ISO|FAC|RAPP|RFAC|20260101||ADT^A01^ADT_A01|C\\T\\1|P|{version}{rest}\r".encode()


def answer(data: bytes, code: AckCode = "AA", errors: list[AckError] | None = None) -> str:
    return ack(header(data), code, "N-1", NOW, errors or []).decode()


def test_sender_and_receiver_change_places() -> None:
    got = parse(answer(message("2.5.1")))
    assert got.segments[0].text.startswith("MSH|^~\\&|RAPP|RFAC|APP^1.2^ISO|FAC|20260102030405+0000||")


def test_the_control_id_is_echoed_and_its_own_is_new() -> None:
    got = parse(answer(message("2.5.1")))
    assert got.raw("MSA-2") == "C\\T\\1"
    assert got.get("MSH-10") == "N-1"


@pytest.mark.parametrize("code", ["AA", "AE", "AR", "CA", "CE", "CR"])
def test_every_code_is_said_in_msa_1(code: AckCode) -> None:
    assert parse(answer(message("2.5.1"), code)).get("MSA-1") == code


@pytest.mark.parametrize(
    ("version", "said"),
    [("2.1", "ACK"), ("2.3", "ACK"), ("2.3.1", "ACK^A01^ACK"), ("2.5.1", "ACK^A01^ACK"), ("2.8.2", "ACK^A01^ACK")],
)
def test_the_type_is_written_as_the_version_has_it(version: str, said: str) -> None:
    got = parse(answer(message(version)))
    assert got.segments[0].field(9) == said
    assert got.get("MSH-12") == version


def test_errors_before_2_5_are_one_segment_with_repetitions() -> None:
    lines = answer(message("2.4"), "AE", ERRORS).split("\r")
    assert lines[1] == "MSA|AE|C\\T\\1|nobody has \\F\\ this number"
    assert lines[2] == "ERR|PID^1^3^204&Unknown key identifier&HL70357~MSH^1^12^203&Unsupported version id&HL70357"


def test_errors_since_2_5_are_a_segment_each() -> None:
    lines = answer(message("2.5"), "AE", ERRORS).split("\r")
    where, what = "PID^1^3^2^4^1", "204^Unknown key identifier^HL70357"
    assert lines[2] == f"ERR||{where}|{what}|E||||nobody has \\F\\ this number"
    assert lines[3] == "ERR||MSH^1^12^1|203^Unsupported version id^HL70357|W||||too new"


def test_a_place_that_is_a_segment_or_none_is_said_as_far_as_it_goes() -> None:
    errors = [AckError("OBX[3]", "100", "out of order"), AckError("somewhere", "207", "broken")]
    got = parse(answer(message("2.5.1"), "AR", errors))
    assert [segment.field(2) for segment in got.all("ERR")] == ["OBX^3", ""]


def test_delimiters_are_the_senders() -> None:
    data = b"MSH$%*/@$APP$FAC$RA$RF$1$$ADT%A01$C1$P$2.5\r"
    assert answer(data, "AE", ERRORS[:1]).split("\r")[2].startswith("ERR$$PID%1%3%2%4%1$204%Unknown key identifier%")


@pytest.mark.parametrize(("charset", "codec"), [("8859/1", "latin-1"), ("UNICODE UTF-8", "utf-8")])
def test_the_character_set_is_the_senders(charset: str, codec: str) -> None:
    data = f"MSH|^~\\&|Süd|F|R|R|1||ADT^A01|1|P|2.5||||||{charset}\r".encode(codec)
    got = ack(header(data), "AA", "N", NOW)
    assert "|Süd|" in got.decode(codec)
    assert parse(got.decode(codec)).get("MSH-18") == charset


def test_a_character_the_set_lacks_is_spelled_out() -> None:
    got = ack(header(message("2.5||||||ASCII")), "AE", "N", NOW, [AckError("PID-5", "102", "naïve")])
    assert b"na\\E\\xefve" in got or b"na\\xefve" in got
    assert b"?" not in got


@given(st.binary(max_size=200), st.sampled_from(["AR", "CR"]))
def test_whatever_arrived_can_be_answered(data: bytes, code: AckCode) -> None:
    got = ack(header(data), code, "N-1", NOW, [AckError("MSH", "100", "unreadable")]).decode(header(data).codec)
    assert "\rMSA" in got
    assert got.endswith("\r")


def test_an_unreadable_header_is_answered_with_an_empty_msa_2() -> None:
    got = parse(ack(header(b"garbage"), "AR", "N-1", NOW, [AckError("MSH", "100", "no MSH")]).decode())
    assert (got.get("MSA-1"), got.get("MSA-2"), got.get("MSH-12")) == ("AR", "", "2.5.1")


def test_another_parser_reads_the_answer_alike() -> None:
    other = hl7.parse(answer(message("2.5.1"), "AE", ERRORS))
    assert str(other.segment("MSA")[1]) == "AE"
    assert str(other.segment("ERR")[3][0][0]) == "204"
