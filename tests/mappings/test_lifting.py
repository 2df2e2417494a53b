"""What is cut out of a message on its way in, and that nothing of it is lost."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.lifting import Base64, Begin, Data, End, Event, Lifter, Text

MSH = b"MSH|^~\\&|A|B|C|D|20260301||ORU^R01|1|P|2.5\r"
BODY = base64.b64encode(bytes(range(256)) * 4)


def lifted(message: bytes, step: int = 10**6, least: int = 100) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return what stays, with `*` for each document, and the documents with their encoding."""
    ours = Lifter(least)
    events: list[Event] = [e for i in range(0, len(message), step) for e in ours.feed(message[i : i + step])]
    kept, documents = b"", list[tuple[str, bytes]]()
    for event in events + ours.end():
        match event:
            case Text(data):
                kept += data
            case Begin(encoding):
                kept += b"*"
                documents.append((encoding, b""))
            case Data(data):
                documents[-1] = documents[-1][0], documents[-1][1] + data
            case End():
                pass
    return kept, documents


def obx(value: bytes, kind: bytes = b"ED", after: bytes = b"||||||F\r") -> bytes:
    return b"OBX|1|" + kind + b"|PDF^Report^L||" + value + after


ED = b"LAB^AP^PDF^Base64^"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 10**6])
@pytest.mark.parametrize(
    ("message", "kept", "documents"),
    [
        (MSH + obx(ED + BODY), MSH + obx(ED + b"*"), [("BASE64", BODY)]),
        (MSH + obx(ED + BODY) * 2, MSH + obx(ED + b"*") * 2, [("BASE64", BODY)] * 2),
        (MSH + obx(ED + BODY, after=b"\r"), MSH + obx(ED + b"*", after=b"\r"), [("BASE64", BODY)]),
        (MSH + obx(ED + BODY, after=b""), MSH + obx(ED + b"*", after=b""), [("BASE64", BODY)]),
        (MSH + obx(ED + BODY + b"^x"), MSH + obx(ED + b"*^x"), [("BASE64", BODY)]),
        (MSH + obx(b"^^^hex^" + b"0A" * 90), MSH + obx(b"^^^hex^*"), [("HEX", b"0A" * 90)]),
        (
            MSH + obx(ED + b"\r\n".join([BODY[:76], BODY[76:]])) + b"NTE|1\r",
            MSH + obx(ED + b"*") + b"NTE|1\r",
            [("BASE64", BODY[:76] + b"\r\n" + BODY[76:])],
        ),
        (
            MSH.replace(b"\r", b"\n\n") + obx(ED + BODY),
            MSH.replace(b"\r", b"\n\n") + obx(ED + b"*"),
            [("BASE64", BODY)],
        ),
        (
            (MSH + obx(ED + BODY)).replace(b"|", b"#").replace(b"^", b"!"),
            (MSH + obx(ED + b"*")).replace(b"|", b"#").replace(b"^", b"!"),
            [("BASE64", BODY)],
        ),
    ],
)
def test_a_long_document_is_cut_out_however_the_message_is_cut(
    message: bytes, kept: bytes, documents: list[tuple[str, bytes]], step: int
) -> None:
    assert lifted(message, step) == (kept, documents)


@pytest.mark.parametrize(
    "message",
    [
        MSH + obx(ED + BODY[:99]),
        MSH + obx(ED + BODY, b"RP"),
        MSH + obx(ED + BODY, b"ST"),
        MSH + obx(BODY),
        MSH + obx(b"^AP^PDF^Base64|" + BODY),
        MSH + b"ZPD|1|ED|||" + ED + BODY + b"\r",
        MSH + b"NTE|" + obx(ED + BODY),
        MSH + b"OBX|1|ED|" + b"x" * 70000 + b"||" + ED + BODY,
        b"no message " + obx(ED + BODY),
        (MSH + obx(ED + BODY)).decode().encode("utf-16"),
        b"\r" * 5000,
        b"",
        b"MSH",
    ],
)
def test_what_is_no_long_document_of_an_obx_stays(message: bytes) -> None:
    assert lifted(message, 1000) == (message, [])


def test_blank_lines_without_an_end_are_not_held() -> None:
    ours = Lifter(100)
    ours.feed(MSH + obx(ED + BODY, after=b""))
    for _ in range(100):
        ours.feed(b"\r" * 1000)
        assert len(ours._rest) <= 6000


@given(
    st.lists(
        st.sampled_from(
            [
                MSH,
                b"OBX|1|ED|||",
                b"OBX|",
                b"ED|",
                b"^",
                b"|",
                b"^^^Base64^",
                b"\r",
                b"\n",
                b"QUJD" * 9,
                b"=",
                b"\\.br\\",
            ]
        )
        | st.binary(max_size=9),
        max_size=40,
    ),
    st.integers(1, 200),
    st.integers(1, 60),
)
def test_what_stays_and_what_is_cut_out_are_the_message(parts: list[bytes], step: int, least: int) -> None:
    message = MSH + b"".join(parts)
    ours = Lifter(least)
    events: list[Event] = [e for i in range(0, len(message), step) for e in ours.feed(message[i : i + step])]
    events += ours.end()
    assert b"".join(e.data for e in events if isinstance(e, Text | Data)) == message
    assert all(len(text) >= least for _, text in lifted(message, step, least)[1])
    assert lifted(message, step, least) == lifted(message, least=least)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_canonical_base64_is_decoded_in_pieces_of_any_size(content: bytes, step: int) -> None:
    text, ours = base64.b64encode(content), Base64()
    found = [ours.feed(text[i : i + step]) for i in range(0, len(text), step)]
    assert (b"".join(piece or b"" for piece in found), ours.left) == (content, b"")


@given(st.binary(max_size=60), st.integers(1, 20))
def test_what_is_decoded_and_what_is_left_give_the_text_again(text: bytes, step: int) -> None:
    ours, content, rest = Base64(), b"", b""
    for i in range(0, len(text), step):
        piece = ours.feed(text[i : i + step])
        if piece is None:
            rest = text[i + step :]
            break
        content += piece
    assert base64.b64encode(content) + ours.left + rest == text


@pytest.mark.parametrize("text", [b"QUJD\r\nQUJD", b"QUI=QUJD", b"QUJ=", b"QU*D", b"====", b"QUJD=", b"-_-_"])
def test_base64_that_one_would_write_otherwise_is_left_as_it_is(text: bytes) -> None:
    ours = Base64()
    assert ours.feed(text) in (None, b"ABC")
    assert ours.left
