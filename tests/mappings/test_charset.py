"""MSH-18 decides how bytes are read; what it gets wrong is read otherwise, with a warning and without a loss."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.charset import codec_for, declared_charset, decode


def message(charset: str, name: str = "Müller") -> str:
    return f"MSH|^~\\&|A|B|||20260101||ADT^A01|1|P|2.5||||||{charset}\rPID|1||1||{name}\r"


@given(st.binary(max_size=300))
def test_the_charset_named_gives_the_same_bytes_back(data: bytes) -> None:
    decoded = decode(data)
    assert decoded.text.encode(decoded.charset) == data


@given(st.binary(max_size=60), st.sampled_from(["ASCII", "UNICODE UTF-8", "8859/1", "ISO IR87", "UNICODE UTF-16", "x"]))
def test_no_declared_set_loses_a_byte(rest: bytes, charset: str) -> None:
    data = message(charset).encode("latin-1") + rest
    decoded = decode(data)
    assert decoded.text.encode(decoded.charset) == data


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("UNICODE UTF-8", "utf-8"),
        ("UTF-8", "utf-8"),
        ("8859/1", "iso8859_1"),
        ("8859/15", "iso8859_15"),
        ("ISO-8859-1", "iso8859_1"),
        ("WINDOWS-1252", "cp1252"),
        ("ISO IR14", "shift_jis"),
        ("GB 18030-2000", "gb18030"),
        ("BIG-5", "big5"),
        ("KS X 1001", "euc_kr"),
    ],
)
def test_the_declared_set_is_used(declared: str, codec: str) -> None:
    name = "Müller" if codec in ("utf-8", "iso8859_1", "iso8859_15", "cp1252") else "Ли"
    decoded = decode(message(declared, name).encode(codec))
    assert f"|{name}\r" in decoded.text
    assert decoded.warnings == ()


def test_a_switch_to_a_multibyte_set_is_followed() -> None:
    data = message("ASCII~ISO IR87", "山田").encode("iso2022_jp")
    assert declared_charset(data) == "ISO IR87"
    assert "山田" in decode(data).text


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_utf_16_is_seen_with_and_without_a_mark(codec: str, mark: str) -> None:
    decoded = decode((mark + message("UNICODE UTF-16")).encode(codec))
    assert decoded.text == mark + message("UNICODE UTF-16")
    assert decoded.charset == codec


def test_a_mark_comes_before_the_declaration() -> None:
    data = ("\ufeff" + message("8859/1")).encode()
    assert decode(data) == ("\ufeff" + message("8859/1"), "utf-8", ())


@pytest.mark.parametrize(
    ("sent", "read", "warning"),
    [
        (message("ASCII").encode(), "utf-8", "bytes are not ASCII, read as utf-8"),
        (message("UNICODE UTF-8").encode("cp1252"), "cp1252", "bytes are not UNICODE UTF-8, read as cp1252"),
        (message("").encode("cp1252"), "cp1252", "no character set declared, read as cp1252"),
        (message("", "\x81").encode("latin-1"), "latin-1", "no character set declared, read as latin-1"),
    ],
)
def test_a_false_declaration_is_read_otherwise_and_said(sent: bytes, read: str, warning: str) -> None:
    decoded = decode(sent)
    assert (decoded.charset, decoded.warnings) == (read, (warning,))
    assert "?" not in decoded.text


def test_an_unknown_set_is_said_to_be_unknown() -> None:
    decoded = decode(message("EBCDIC", "Muller").encode())
    assert decoded.warnings == ("character set 'EBCDIC' is not known",)
    assert codec_for("8859/99") is None


def test_a_peers_setting_overrides_what_it_declares() -> None:
    data = message("ASCII").encode("cp1250")
    assert "Müller" in decode(data, override="WINDOWS-1250").text
    assert "Müller" in decode(message("").encode("cp1250"), fallback="WINDOWS-1250").text
