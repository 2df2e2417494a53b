"""Bytes to text by MSH-18 (HL7 table 0211), without losing a byte.

https://terminology.hl7.org/CodeSystem-v2-0211.html
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

_CODECS = {
    "ASCII": "ascii",
    "USASCII": "ascii",
    "ISOIR6": "ascii",
    "UNICODE": "utf-8",
    "UNICODEUTF8": "utf-8",
    "UTF8": "utf-8",
    "UNICODEUTF16": "utf-16",
    "UTF16": "utf-16",
    "UNICODEUTF32": "utf-32",
    "UTF32": "utf-32",
    "ISOIR14": "shift_jis",
    "ISOIR87": "iso2022_jp",
    "ISOIR159": "iso2022_jp_2",
    "GB180302000": "gb18030",
    "GB18030": "gb18030",
    "KSX1001": "euc_kr",
    "BIG5": "big5",
    "ANSI": "cp1252",
}
_LATIN = re.compile(r"(?:ISO)?8859(\d{1,2})\Z")
_WINDOWS = re.compile(r"(?:WINDOWS|WIN|CP)(125\d|874)\Z")
_MSH_18 = 17
# The mark of UTF-32 begins like that of UTF-16.
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UNMARKED = (
    (b"M\0S\0H\0", "utf-16-le"),
    (b"\0M\0S\0H", "utf-16-be"),
    (b"M\0\0\0S\0\0\0", "utf-32-le"),
    (b"\0\0\0M\0\0\0S", "utf-32-be"),
)


class Decoded(NamedTuple):
    """Text, the Python codec that gives back the same bytes, and what was odd about them."""

    text: str
    charset: str
    warnings: tuple[str, ...]


def codec_for(declared: str) -> str | None:
    """Return the Python codec for a value of MSH-18, or None where nobody knows it."""
    key = re.sub(r"[\s/_.-]", "", declared).upper()
    latin, windows = _LATIN.match(key), _WINDOWS.match(key)
    if latin:
        return _known(f"iso8859_{latin.group(1)}")
    if windows:
        return f"cp{windows.group(1)}"
    return _CODECS.get(key)


def decode(data: bytes, *, fallback: str = "", override: str = "") -> Decoded:
    """Return the message as text; `Decoded.charset` encodes it back to exactly `data`.

    MSH-18 decides, a byte order mark or plain UTF-16 comes before it. `override` (as in MSH-18) is for a sender that
    declares what it does not send, `fallback` for one that declares nothing or sends more than that. Bytes that
    neither knows are read as UTF-8, else as Windows-1252, else as ISO 8859-1, with a warning: none is lost and none
    becomes `?`.
    """
    wide = _wide(data)
    if wide:
        text = _try(data, wide)
        if text is not None:
            return Decoded(text, wide, ())
    name = override or declared_charset(data) or fallback
    codec = codec_for(name) if name else "ascii"
    warnings = () if codec else (f"character set {name!r} is not known",)
    text = _try(data, codec or "ascii")
    if text is not None:
        return Decoded(text, codec or "ascii", warnings)
    return _fall_back(data, name, codec_for(fallback) if fallback and fallback != name else None, warnings)


def declared_charset(data: bytes) -> str:
    """Return MSH-18 as sent: its first repetition, or the first that switches to a multi-byte set; "" for none."""
    start = data.find(b"MSH")
    if start < 0 or len(data) < start + 8:
        return ""
    line = re.split(rb"[\r\n]", data[start : start + 8192], maxsplit=1)[0].decode("latin-1")
    fields = line.split(line[3])
    if len(fields) <= _MSH_18:
        return ""
    names = [name.strip() for name in re.split(r"[~^]", fields[_MSH_18])]
    multibyte = [name for name in names[1:] if (codec_for(name) or "").startswith(("iso2022", "utf", "euc"))]
    return multibyte[0] if multibyte and codec_for(names[0]) == "ascii" else names[0]


def _wide(data: bytes) -> str | None:
    for mark, codec in (*_BOMS, *_UNMARKED):
        if data.startswith(mark):
            return codec
    return None


def _try(data: bytes, codec: str) -> str | None:
    """Decode, and keep the result only where encoding it gives the same bytes."""
    try:
        text = data.decode(codec)
        same = len(text) == len(data) and text.isascii()
        return text if same or text.encode(codec) == data else None
    except UnicodeError:
        return None


def _fall_back(data: bytes, name: str, first: str | None, warnings: tuple[str, ...]) -> Decoded:
    codecs_ = (first, "utf-8", "cp1252", "latin-1")  # the last one knows every byte
    text, codec = next((text, codec) for codec in codecs_ if codec and (text := _try(data, codec)) is not None)
    odd = f"bytes are not {name}, read as {codec}" if name else f"no character set declared, read as {codec}"
    return Decoded(text, codec, (*warnings, odd))


def _known(codec: str) -> str | None:
    try:
        return codecs.lookup(codec).name
    except LookupError:
        return None
