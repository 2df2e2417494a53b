"""The parser keeps every character, whatever the sender's habits, and splits only what is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.hl7v2 import NULL, Path, order_key, parse, split_batch
from tests.mappings.corpus import own_files

ADT = "MSH|^~\\&|APP|FAC|||20260101||ADT^A01|1|P|2.5\rPID|1||1^^^A&1.2.3&ISO^MR~2^^^B||Doe^Jane||\rZPI|x|y\r"


@given(st.text(alphabet='MSHPIDOBX|^~\\&#\r\n "A1é\ufeff\x0b', max_size=200))
def test_encoding_gives_back_any_text(text: str) -> None:
    assert parse(text).encode() == text


@given(st.text(max_size=80))
def test_a_message_with_any_content_encodes_to_itself(content: str) -> None:
    text = f"MSH|^~\\&|{content}\rPID|{content}"
    assert parse(text).encode() == text


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r", "\n \n"])
def test_every_line_end_separates_segments(end: str) -> None:
    message = parse(ADT.replace("\r", end))
    assert [segment.id for segment in message.segments] == ["MSH", "PID", "ZPI"]
    assert message.encode() == ADT.replace("\r", end)


def test_every_segment_encodes_to_its_own_text_from_its_fields() -> None:
    for file in own_files():
        for segment in parse(file.read_bytes().decode("latin-1")).segments:
            assert segment.fields[0] == segment.id
            assert segment.encode() == segment.text


def test_a_line_break_inside_a_field_belongs_to_the_field() -> None:
    message = parse("MSH|^~\\&|A\rOBX|1|TX|c||first line\nsecond line, not|a segment\rNTE|1")
    assert [segment.id for segment in message.segments] == ["MSH", "OBX", "NTE"]
    assert message.get("OBX-5") == "first line\nsecond line, not"


def test_what_stands_before_the_header_is_kept_and_ignored() -> None:
    for before in ("\ufeff", "\x0b", "\r\n", " \t"):
        message = parse(before + ADT)
        assert message.get("MSH-3") == "APP"
        assert message.encode() == before + ADT


def test_text_that_is_no_message_has_no_segments() -> None:
    for text in ("", "hello", "PID|1||2", "MSHX|", "MSH"):
        assert parse(text).segments == []
        assert parse(text).get("PID-3") is None


def test_the_header_counts_its_own_separator() -> None:
    message = parse(ADT)
    assert message.get("MSH-1") == "|"
    assert message.get("MSH-2") == "^~\\&"
    assert message.get("MSH-9.2") == "A01"


def test_paths_name_repetition_component_and_subcomponent() -> None:
    message = parse(ADT)
    assert message.get("PID-3") == "1"
    assert message.get("PID-3[2]") == "2"
    assert message.get("PID-3[1].4.2") == "1.2.3"
    assert message.get("PID[1]-5.2") == "Jane"
    assert message.get("ZPI-2") == "y"


def test_absent_empty_and_deleted_are_three_things() -> None:
    message = parse('MSH|^~\\&|\rPID|1||""|')
    assert message.get("PID-3") == NULL
    assert message.get("PID-4") == ""
    assert message.get("PID-5") is None
    assert message.get("PID-3[2]") is None
    assert message.get("PID[2]-3") is None


def test_a_path_that_is_none_is_refused_by_name() -> None:
    for path in ("PID", "PID-", "pid-3", "PID-3.", "PID-3[x]", "PID-3.1.1.1", ""):
        with pytest.raises(ValueError, match="is not a path"):
            parse(ADT).get(path)


def test_a_path_has_ones_where_it_says_nothing() -> None:
    assert Path.of("OBX[2]-5[3].4") == ("OBX", 2, 5, 3, 4, 1)


def test_custom_delimiters_are_the_senders() -> None:
    message = parse("MSH$%*/@$APP$FAC\rPID$1$$7%%%A@1.2@ISO*8$$O/S/Neill%Ann")
    assert message.get("PID-3[2]") == "8"
    assert message.get("PID-3.4.2") == "1.2"
    assert message.get("PID-5.1") == "O%Neill"


def test_the_truncation_character_is_a_delimiter_of_its_own() -> None:
    message = parse("MSH|^~\\&#|APP\rPID|1||1^2&3|a \\P\\ b")
    assert message.delimiters.truncation == "#"
    assert message.get("PID-3.2.2") == "3"
    assert message.get("PID-4") == "a # b"


def test_an_escape_character_written_twice_is_one() -> None:
    message = parse("MSH|^~\\\\&|APP\rPID|1||1&2\\T\\3")
    assert message.delimiters.encoding == "^~\\&"
    assert message.get("PID-3.1.2") == "2&3"


def test_missing_delimiters_take_their_usual_value() -> None:
    assert parse("MSH|^|A").delimiters.encoding == "^~\\&"
    assert parse("MSH||A").delimiters.encoding == "^~\\&"


def test_escapes_are_resolved_after_splitting_alone() -> None:
    message = parse("MSH|^~\\&|A\rOBX|1|ST|||a\\S\\b\\F\\c^d")
    assert message.get("OBX-5.1") == "a^b|c"
    assert message.get("OBX-5.2") == "d"
    assert message.raw("OBX-5.1") == "a\\S\\b\\F\\c"


def test_a_batch_falls_into_its_messages() -> None:
    one, two = "MSH|^~\\&|A\rPID|1\r", "MSH|^~\\&|B\rPID|2\r"
    batch = f"FHS|^~\\&|F\rBHS|^~\\&|B\r{one}{two}BTS|2\rFTS|1\r"
    assert split_batch(batch) == [one, two]
    assert split_batch(one) == [one]
    assert split_batch("no message") == []


def test_messages_of_one_patient_share_their_order_key() -> None:
    first = parse("MSH|^~\\&|A|F|||1||ADT^A01|1\rPID|1||7^^^H&1.2&ISO^MR")
    second = parse("MSH|^~\\&|LAB|L|||2||ORU^R01|2\rPID|1||7^^^HOSP&1.2&ISO^MR\rOBR|1||F1")
    assert order_key(first) == order_key(second) == "patient|1.2|7"


def test_a_number_without_authority_is_the_senders_own() -> None:
    assert order_key(parse("MSH|^~\\&|A|F\rPID|1||7")) == "patient|A/F|7"
    assert order_key(parse("MSH|^~\\&|B|F\rPID|1||7")) == "patient|B/F|7"


def test_without_a_patient_the_order_or_the_message_is_the_key() -> None:
    assert order_key(parse('MSH|^~\\&|A|F\rPID|1||""\rOBR|1|P|F1')) == "order|A/F|F1"
    assert order_key(parse("MSH|^~\\&|A|F\rORC|1|P")) == "order|A/F|P"
    assert order_key(parse("MSH|^~\\&|A|F|||1||ACK|77")) == "message|A/F|77"
    assert order_key(parse("")) == "message||"
