"""Files of messages: cut apart at the same places however they are read, counted, and never half a message taken."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.batch import Closed, Event, Found, Odd, Opened, Splitter, TooLarge
from mappings.batch_ack import Answer
from mappings.hl7v2 import parse, split_batch

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def message(n: int, end: str = "\r") -> str:
    return f"MSH|^~\\&|LAB|NORTH|||20260301||ORU^R01|M{n}|P|2.5{end}PID|1||{n}^^^NORTH{end}OBX|1|TX|A||a BTS|x{end}"


def batch(count: int, said: str | None = None, end: str = "\r") -> str:
    body = "".join(message(n, end) for n in range(count))
    return f"BHS|^~\\&|LAB|NORTH|HIS|SOUTH|20260301||||B7{end}{body}BTS|{count if said is None else said}{end}"


def split(data: bytes, size: int = 1 << 20, most: int = 1 << 20) -> list[Event]:
    cutter = Splitter(most)
    found = [event for at in range(0, len(data), size) for event in cutter.feed(data[at : at + size])]
    return [*found, *cutter.end()]


def raws(events: list[Event]) -> list[bytes]:
    return [event.raw for event in events if isinstance(event, Found)]


def oddities(events: list[Event]) -> list[str]:
    told = [e.text for e in events if isinstance(e, Odd)]
    return told + [e.problem for e in events if isinstance(e, Closed) and e.problem]


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r\n"])
def test_messages_of_a_file_without_envelope_are_found_with_any_line_end(end: str) -> None:
    text = "".join(message(n, end) for n in range(3))
    events = split(text.encode())
    assert [raw.decode() for raw in raws(events)] == [message(n, end).rstrip("\r\n") for n in range(3)]
    assert all(event.whole for event in events if isinstance(event, Found))
    assert oddities(events) == []


@given(st.integers(1, 40), st.sampled_from(["\r", "\n", "\r\n"]), st.integers(0, 3), st.booleans())
def test_the_pieces_in_which_a_file_is_read_make_no_difference(size: int, end: str, count: int, wide: bool) -> None:
    text = f"FHS|^~\\&|LAB{end}{batch(count, end=end)}{batch(1, end=end)}FTS|2{end}"
    data = ("\ufeff" + text).encode("utf-16-le") if wide else text.encode()
    assert split(data, size) == split(data)
    assert len(raws(split(data))) == count + 1
    assert oddities(split(data)) == []


def test_it_finds_the_messages_that_the_lossless_reader_finds() -> None:
    text = batch(4)
    assert [parse(raw.decode()).get("MSH-10") for raw in raws(split(text.encode()))] == [
        parse(one).get("MSH-10") for one in split_batch(text)
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (batch(2), []),
        (batch(2, ""), []),
        (batch(2, "3"), ["BTS-1 says 3 messages, there are 2"]),
        (batch(0, "1"), ["BTS-1 says 1 messages, there are 0"]),
        (batch(2, "two"), ["BTS-1 is no number"]),
        (f"FHS|^~\\&\r{batch(1)}{batch(2)}FTS|2\r", []),
        (f"FHS|^~\\&\r{batch(1)}{batch(2)}FTS|3\r", ["FTS-1 says 3 batches, there are 2"]),
        (f"FHS|^~\\&\r{batch(1)}FTS\r", []),
        (f"FHS|^~\\&\r{message(1)}{message(2)}FTS|2\r", []),
        (f"FHS|^~\\&\r{message(1)}{message(2)}FTS|1\r", []),
        (f"FHS|^~\\&\r{message(1)}{message(2)}FTS|3\r", ["FTS-1 says 3 batches, there are 2"]),
        (f"BHS|^~\\&\r{message(1)}{batch(1)}", ["a batch has no BTS"]),
        (f"{message(1)}BTS|1\r", ["BTS without BHS"]),
        (f"{message(1)}FTS|1\r", ["FTS without FHS"]),
        (f"hello\r{message(1)}", ["there is text that belongs to no message"]),
        (f"BHS|^~\\&\rNTE|1\r{message(1)}BTS|1\r", ["there is text after BHS that belongs to no message"]),
        ("", []),
        ("\r\n\x1a", []),
        ("no HL7 at all", ["there is text that belongs to no message"]),
        ("M", ["there is text that belongs to no message"]),
    ],
)
def test_what_does_not_add_up_is_told(text: str, told: list[str]) -> None:
    assert oddities(split(text.encode())) == told
    assert oddities(split(text.encode(), 1)) == told


def test_a_file_that_ends_before_its_trailer_may_have_cut_the_last_message() -> None:
    for text in (batch(2).rpartition("BTS")[0], f"FHS|^~\\&\r{message(0)}{message(1)}"):
        events = split(text.encode())
        assert [event.whole for event in events if isinstance(event, Found)] == [True, False]
        assert [text[:14] for text in oddities(events)] == ["the file ends "]


def test_frames_of_mllp_within_a_file_are_no_part_of_its_messages() -> None:
    framed = "".join(f"\x0b{message(n)}\x1c\r" for n in range(3))
    assert raws(split(framed.encode())) == [message(n).rstrip("\r").encode() for n in range(3)]


def test_bytes_of_every_value_come_through_as_they_are() -> None:
    odd = bytes(n for n in range(256) if n not in b"\r\n")
    data = b"MSH|^~\\&|A\rNTE|1||" + odd + b"x\r" + message(2).encode()
    assert raws(split(data, 7)) == [b"MSH|^~\\&|A\rNTE|1||" + odd + b"x", message(2).rstrip("\r").encode()]


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_file_in_utf_16_is_cut_into_messages_that_say_so_themselves(codec: str, mark: str) -> None:
    text = message(1).replace("|a BTS", "|Ärztin 漢") + message(2)
    found = raws(split((mark + text).encode(codec), 5))
    assert [raw.decode("utf-16") for raw in found] == [text[: text.rindex("MSH")].rstrip("\r"), message(2).rstrip("\r")]


def test_a_message_without_an_end_fills_no_memory_and_what_follows_is_found() -> None:
    cutter = Splitter(1000)
    events = cutter.feed(b"MSH|^~\\&|A\rOBX|1|")
    for _ in range(100):
        events += cutter.feed(b"x" * 10_000)
        assert len(cutter._text) < 20_000
    events += [*cutter.feed(b"\r" + message(2).encode()), *cutter.end()]
    large, good = events
    assert isinstance(large, TooLarge)
    assert (large.size, len(large.raw), large.raw[:3]) == (1_000_017, 1000, b"MSH")
    assert raws([good]) == [message(2).rstrip("\r").encode()]


def test_a_message_of_just_the_limit_is_taken_and_blank_lines_do_not_count() -> None:
    plain = message(1).rstrip("\r").encode()
    assert raws(split(plain + b"\r\n" * 500, 3, len(plain))) == [plain]
    assert isinstance(split(plain, 3, len(plain) - 1)[0], TooLarge)


def test_the_answer_names_the_batch_it_answers_and_turns_sender_and_receiver() -> None:
    [opened, *_] = split(batch(1).encode())
    assert isinstance(opened, Opened)
    answer = Answer(NOW)
    head = answer.header("BHS", opened.line, "C1").decode()
    assert head == "BHS|^~\\&|HIS|SOUTH|LAB|NORTH|20260301120000+0000||||C1|B7\r"
    assert answer.trailer("BHS", 1, []) == b"BTS|1\r"
    assert answer.trailer("BHS", 1, ["a|b", "c"]) == b"BTS|1|a\\F\\b; c\r"
    assert Answer(NOW).header("BHS", "", "C1") == b"BHS|^~\\&|||||20260301120000+0000||||C1|\r"


def test_the_answer_keeps_the_files_delimiters_line_ends_and_character_set() -> None:
    answer = Answer(NOW, "utf-16-le", "\r\n")
    written = answer.start() + answer.header("FHS", "FHS#^~\\&#A", "C1") + answer.message(b"MSH|^~\\&|Q\rMSA|AA|1\r")
    written += answer.trailer("FHS", 2, [])
    assert written.decode("utf-16").split("\r\n") == [
        "FHS#^~\\&###A##20260301120000+0000####C1#",
        "MSH|^~\\&|Q",
        "MSA|AA|1",
        "FTS#2",
        "",
    ]
