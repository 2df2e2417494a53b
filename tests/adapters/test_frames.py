"""MLLP framing by exact bytes: what each stream means, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.frames import Event, Frame, Framer, Junk, Last, Part, State, TooLarge, wrap

MESSAGE = b"MSH|^~\\&|A|B\rPID|1\r"

STREAMS: dict[str, tuple[bytes, list[Event]]] = {
    "one frame": (b"\x0bMSH|1\r\x1c\r", [Frame(b"MSH|1\r")]),
    "two joined frames": (b"\x0bA\x1c\r\x0bB\x1c\r", [Frame(b"A"), Frame(b"B")]),
    "a frame whose last CR is missing": (b"\x0bA\x1c", [Frame(b"A")]),
    "joined frames whose CRs are missing": (b"\x0bA\x1c\x0bB\x1c", [Frame(b"A"), Frame(b"B")]),
    "CR LF after a frame": (b"\x0bA\x1c\r\n\x0bB\x1c\r\n", [Frame(b"A"), Frame(b"B")]),
    "an empty frame": (b"\x0b\x1c\r", [Frame(b"")]),
    "a frame of a lone CR": (b"\x0b\r\x1c\r", [Frame(b"\r")]),
    "junk before the first VT": (b"hello\x0bA\x1c\r", [Junk("unframed", b"hello", 5), Frame(b"A")]),
    "junk between frames": (
        b"\x0bA\x1c\r\r\nnoise\r\n\x0bB\x1c\r",
        [Frame(b"A"), Junk("unframed", b"noise\r\n", 7), Frame(b"B")],
    ),
    "a message without VT": (b"MSH|1\r\x1c\r", [Junk("unframed", b"MSH|1\r", 6)]),
    "FS alone": (b"\x1c\r", []),
    "a new VT inside a frame": (b"\x0bMSH|ol\x0bMSH|new\x1c\r", [Junk("unfinished", b"MSH|ol", 6), Frame(b"MSH|new")]),
    "VT twice": (b"\x0b\x0bA\x1c\r", [Frame(b"A")]),
    "a frame of exactly the limit": (b"\x0b" + b"x" * 32 + b"\x1c\r", [Frame(b"x" * 32)]),
    "a frame over the limit and one after it": (
        b"\x0b" + b"x" * 33 + b"\x1c\r\x0bA\x1c\r",
        [TooLarge(b"x" * 8, 32), Frame(b"A")],
    ),
    "a frame over the limit that is given up": (
        b"\x0b" + b"x" * 99 + b"\x0bA\x1c\r",
        [TooLarge(b"x" * 8, 32), Frame(b"A")],
    ),
    "junk over its bound": (b"0123456789\x0bA\x1c\r", [Junk("unframed", b"01234567", 10), Frame(b"A")]),
    "NUL and high bytes": (b"\x0b\x00\xff\xfe\x1c\r", [Frame(b"\x00\xff\xfe")]),
    "nothing": (b"", []),
}


def _narrow(content: bytes) -> bool:
    """Tell of content that is not UTF-16 whether it may be framed."""
    return not set(content) & {0x0B, 0x1C} and b"S\0H" not in content


def framer() -> Framer:
    return Framer(limit=32, kept=8)


def fed(chunks: list[bytes]) -> list[Event]:
    ours = framer()
    return [event for chunk in chunks for event in ours.receive(chunk)] + ours.finish()


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_means_these_events(name: str) -> None:
    stream, events = STREAMS[name]
    assert fed([stream]) == events


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_cut_into_single_bytes_means_the_same(name: str) -> None:
    stream, events = STREAMS[name]
    assert fed([bytes([b]) for b in stream]) == events


@given(
    st.lists(st.sampled_from([b"\x0b", b"\x1c", b"\r", b"\n", b"MSH|", b"x" * 20, b"x" * 40, b"\x1c\r\x0b"])), st.data()
)
def test_any_cutting_of_a_stream_gives_the_same_events(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert fed(chunks) == fed([stream])


@given(st.lists(st.binary(max_size=32).filter(_narrow)), st.integers(1, 9))
def test_what_is_wrapped_comes_out_whole_and_in_order(contents: list[bytes], step: int) -> None:
    stream = b"".join(map(wrap, contents))
    assert fed([stream[i : i + step] for i in range(0, len(stream), step)]) == [Frame(c) for c in contents]


@given(st.lists(st.binary(max_size=200)))
def test_no_stream_makes_it_hold_more_than_the_limit(chunks: list[bytes]) -> None:
    ours = framer()
    for chunk in chunks:
        ours.receive(chunk)
        assert len(ours._held) <= 32


def test_an_unfinished_frame_is_reported_at_the_end_of_the_stream() -> None:
    ours = framer()
    assert ours.receive(b"\x0bMSH|half") == []
    assert ours.state is State.INSIDE
    assert ours.finish() == [Junk("unfinished", b"MSH|half", 8)]
    assert ours.finish() == []


def test_an_oversized_frame_is_reported_before_it_ends() -> None:
    ours = framer()
    assert ours.receive(b"\x0b" + b"y" * 33) == [TooLarge(b"y" * 8, 32)]
    assert ours.receive(b"y" * 1000) == []
    assert ours.receive(b"\x1c\r" + wrap(b"next")) == [Frame(b"next")]


@pytest.mark.parametrize("content", [b"a\x0bb", b"a\x1cb"])
def test_content_that_would_break_the_framing_is_not_wrapped(content: bytes) -> None:
    with pytest.raises(ValueError, match="0x0B or 0x1C"):
        wrap(content)


def test_a_frame_is_wrapped_in_exactly_these_bytes() -> None:
    assert wrap(MESSAGE) == b"\x0b" + MESSAGE + b"\x1c\r"


WIDE = "MSH|^~\\&|ଅ|B\r\nPID|“1”ᰜ଼഼\r"


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-16"])
@given(data=st.data())
def test_utf_16_holds_the_bytes_of_the_framing_and_comes_out_whole(codec: str, data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
    contents = [f"MSH|{text}\r".encode(codec) for text in [*texts, WIDE]]
    stream = b"".join(map(wrap, contents))
    step = data.draw(st.integers(1, 50))
    ours = Framer(10_000, 8, whole=data.draw(st.sampled_from([8, 10_000])))
    events = [e for i in range(0, len(stream), step) for e in ours.receive(stream[i : i + step])]
    assert joined(events) == contents


def joined(events: list[Event]) -> list[bytes]:
    """Return the contents of frames, those of parts put together again; anything else is no part of it."""
    found, held = list[bytes](), b""
    for event in events:
        assert isinstance(event, Frame | Part | Last), event
        held += event.content
        if not isinstance(event, Part):
            found.append(held)
            held = b""
    assert not held
    return found


@given(st.lists(st.binary(max_size=300).filter(_narrow)), st.integers(1, 400))
def test_a_large_frame_comes_in_parts_of_which_none_is_held_longer(contents: list[bytes], step: int) -> None:
    ours = Framer(1000, 8, whole=50)
    events = []
    for chunk in [*map(wrap, contents)]:
        for i in range(0, len(chunk), step):
            events += ours.receive(chunk[i : i + step])
            assert len(ours._held) <= 50
    assert joined(events) == contents
    assert all(len(e.content) <= 50 for e in events if isinstance(e, Frame))


@pytest.mark.parametrize(
    ("stream", "last"),
    [
        (b"\x0b" + b"x" * 90 + b"\x0b", Junk("unfinished", b"", 90)),
        (b"\x0b" + b"x" * 90, Junk("unfinished", b"", 90)),
        (b"\x0b" + b"x" * 110 + b"\x1c\r", TooLarge(b"", 100)),
    ],
)
def test_a_large_frame_without_an_end_is_told_once(stream: bytes, last: Event) -> None:
    ours = Framer(100, 8, whole=10)
    events = [e for i in range(0, len(stream), 7) for e in ours.receive(stream[i : i + 7])] + ours.finish()
    assert [e for e in events if not isinstance(e, Part)] == [last]
    assert isinstance(events[0], Part)


def test_a_frame_that_begins_like_utf_16_and_goes_on_otherwise_ends_at_its_limit() -> None:
    ours = Framer(100, 8)
    events = ours.receive(b"\x0b" + b"\xff\xfeM\0S\0H\0" + b"x" * 40 + b"\x1c\r" + b"y" * 80)
    assert events == [TooLarge(b"\xff\xfeM\0S\0H\0", 100)]
    assert ours.receive(b"\x1c\r" + wrap(b"next")) == [Frame(b"next")]
