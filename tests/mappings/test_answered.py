"""Acknowledgements as the sender reads them, of every version, and messages that go on under other names."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mappings.ack import AckCode, AckError, ack
from mappings.answered import answered
from mappings.header import header
from mappings.readdress import readdressed

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize("version", ["2.3", "2.4", "2.5.1", "2.8"])
def test_codes_and_places_of_errors_are_read_in_every_version(version: str) -> None:
    asked = header(f"MSH|^~\\&|A|B|C|D|1||ADT^A01|77|P|{version}\r".encode())
    found = answered(ack(asked, "AR", "R", NOW, [AckError("PID-3", "207", "locked"), AckError("MSH-9", "200", "x")]))
    assert found is not None
    assert (found.code, found.control_id, found.errors, found.places) == (
        "AR",
        "77",
        ("207", "200"),
        ("PID-3", "MSH-9"),
    )
    assert found.meaning == "change", "one that must be changed decides"


@pytest.mark.parametrize(
    ("code", "errors", "meaning"),
    [("AA", (), "taken"), ("CA", (), "taken"), ("AE", ("207",), "person"), ("AR", ("206",), "later"),
     ("AR", ("101",), "person"), ("CR", (), "change"), ("CE", (), "later"), ("??", (), "person")],
)  # fmt: skip
def test_what_an_answer_means(code: AckCode, errors: tuple[str, ...], meaning: str) -> None:
    asked = header(b"MSH|^~\\&|A|B|C|D|1||ADT^A01|77|P|2.5\r")
    found = answered(ack(asked, code, "R", NOW, [AckError("PID-3", error, "") for error in errors]))
    assert found is not None
    assert found.meaning == meaning


def test_an_answer_without_msa_2_can_only_refuse() -> None:
    refused, taken = answered(b"MSH|^~\\&|A\rMSA|AR|\r"), answered(b"MSH|^~\\&|A\rMSA|AA|\r")
    assert refused
    assert taken
    assert refused.belongs_to("77")
    assert not taken.belongs_to("77")
    assert answered(b"MSH|^~\\&|A\rPID|1\r") is answered(b"no HL7 at all") is None


def test_what_the_receiver_wrote_stands_in_no_reason() -> None:
    found = answered(b"MSH|^~\\&|A\rMSA|AE|1|Anna Meier is dead\rERR||PID^1^5|Meier^x||||||Anna Meier\r")
    assert found
    assert str(found) == "AE with ? at PID-5"


@pytest.mark.parametrize(
    ("charset", "codec", "name"),
    [("8859/1", "latin-1", "Müller"), ("UNICODE UTF-8", "utf-8", "Мария"), ("", "latin-1", "\x80")],
)
def test_fields_written_anew_leave_every_other_byte_as_it_was(charset: str, codec: str, name: str) -> None:
    text = f"MSH|^~\\&|LAB|N|A|B|1||ORU^R01|9|P|2.5||||||{charset}\rPID|1||{name}^\\X0D\\|\r\nZZZ|1\r"
    data = text.encode(codec)
    assert readdressed(data, {5: "EHR^1.2^ISO"}) == data.replace(b"|A|B|", b"|EHR^1.2^ISO|B|")
    assert readdressed(data, {}) == data
    assert readdressed(b"MSH#*~\\&#L#N#A#B\r", {6: "X^Y"}) == b"MSH#*~\\&#L#N#A#X*Y\r"
