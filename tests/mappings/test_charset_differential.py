"""Character sets against another implementation (iconv), and by rules that hold for all bytes."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.ack import ack
from mappings.charset import codec_for, decode
from mappings.header import header
from tests.engine.world import NOW

# MSH-18 and the name by which iconv knows the set.
SETS = {
    "ASCII": "ASCII",
    **{f"8859/{n}": f"ISO-8859-{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)},
    **{f"WINDOWS-{n}": f"CP{n}" for n in range(1250, 1259)},
    "UNICODE UTF-8": "UTF-8",
}
# Where the two tables differ: letters that a later edition of the set added or moved.
LATER = {
    "8859/7": {0xA4, 0xA5, 0xAA},
    "8859/8": {0xFD, 0xFE},
    "WINDOWS-1255": {0xCA},
    "WINDOWS-1258": set(range(0xC0, 0xFF)),
}
# iconv gives C1 controls to bytes that a Windows page does not define; here they are told as bytes that do not fit.
ICONV = shutil.which("iconv")


def converted(data: bytes, name: str) -> str | None:
    assert ICONV
    done = subprocess.run([ICONV, "-f", name, "-t", "UTF-8"], input=data, capture_output=True, check=False)
    return done.stdout.decode() if done.returncode == 0 else None


@pytest.mark.skipif(ICONV is None, reason="needs iconv")
@pytest.mark.parametrize("declared", SETS)
def test_every_byte_of_a_set_is_the_character_that_iconv_reads(declared: str) -> None:
    codec, known = codec_for(declared), 0
    assert codec
    single = [bytes([b]) for b in range(0x80, 0x100) if b not in LATER.get(declared, set())]
    if declared == "UNICODE UTF-8":
        single = [char.encode() for char in "äßżЖשغ€漢𝄞\ufdfd"]
    for byte in single:
        try:
            ours: str | None = byte.decode(codec)
        except UnicodeDecodeError:
            ours = None
        theirs = converted(byte, SETS[declared])
        known += ours is not None
        if ours is not None and theirs is not None:
            assert ours == theirs, byte
    assert known or declared == "ASCII"


def message(declared: str, body: bytes = b"") -> bytes:
    return (
        f"MSH|^~\\&|LAB|N|C|C|20260301||ADT^A04|1|P|2.5.1||||||{declared}\r".encode("latin-1")
        + b"NTE|1||"
        + body
        + b"\r"
    )


_ANY = st.sampled_from(
    [*SETS, "UNICODE UTF-16", "UNICODE UTF-32", "ISO IR87", "GB 18030-2000", "BIG-5", "KS X 1001", "", "no such"]
)


@given(_ANY, st.binary(max_size=200), _ANY, _ANY)
def test_no_byte_is_lost_whatever_is_declared_or_set_for_the_peer(
    declared: str, body: bytes, override: str, fallback: str
) -> None:
    data = message(declared, body)
    found = decode(data, override=override, fallback=fallback)
    assert found.text.encode(found.charset) == data
    assert "\ufffd" not in found.text or "\ufffd".encode(found.charset) in data
    assert found.text.count("?") <= data.count(b"?") + data.count(b"\x00?") or "utf-16" in found.charset


@given(_ANY, st.binary(max_size=100))
def test_what_is_read_otherwise_than_declared_is_flagged(declared: str, body: bytes) -> None:
    found = decode(message(declared, body))
    if not declared:
        assert bool(found.warnings) is not body.isascii()
    elif found.charset != codec_for(declared):
        assert found.warnings or found.charset.startswith("utf-")


@given(_ANY, st.text(st.characters(exclude_categories=["C"]), max_size=20))
def test_an_answer_can_be_read_by_who_wrote_the_message_as_it_wrote_it(declared: str, name: str) -> None:
    codec = codec_for(declared) or "ascii"
    app = name.replace("|", "").replace("^", "").replace("~", "").replace("&", "").replace("\\", "").strip()
    try:
        data = f"MSH|^~\\&|{app}|N|C|C|20260301||ADT^A04|1|P|2.3||||||{declared}\r".encode(codec)
    except UnicodeEncodeError:
        return
    head = header(data)
    answer = ack(head, "AA", "9", NOW).decode(codec)
    assert f"|{app}|N|" in answer
    assert "|2.3" in answer
    assert f"|||||{declared}" in answer or not declared


def test_the_set_of_a_peer_comes_before_what_it_declares_and_its_fallback_after() -> None:
    polish = message("8859/1", "Łódź".encode("cp1250"))
    assert "Łódź" in decode(polish, override="WINDOWS-1250").text
    assert "Łódź" not in decode(polish).text
    assert "Łódź" in decode(message("ASCII", "Łódź".encode("cp1250")), fallback="WINDOWS-1250").text
    assert decode(message("ASCII", "Łódź".encode("cp1250")), fallback="WINDOWS-1250").warnings


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig"])
def test_unicode_is_told_by_its_mark_or_by_how_it_writes_msh(codec: str) -> None:
    data = "MSH|^~\\&|ŁÓDŹ|N|C|C|20260301||ADT^A04|1|P|2.5.1||||||UNICODE UTF-16\rPID|1||1\r".encode(codec)
    found = decode(data)
    assert found.text.lstrip("\ufeff").startswith("MSH|^~\\&|ŁÓDŹ|")
    assert found.text.encode(found.charset) == data
    assert header(data).sender_app == "ŁÓDŹ"
