"""Cuts documents out of a message while it arrives, by bytes alone: what is long in OBX-5.5 where OBX-2 is ED.

HL7 v2.5.1 chapter 2.A.24 (ED)

The rules of this file:

- What is kept and what is cut out are together the message, byte for byte, whatever a sender wrote.
- Fields are told by MSH-1 and MSH-2 as `hl7v2.parse` tells them, and a line that does not begin like a segment belongs
  to the one before it. A message that does not begin with a header, or is not written in bytes (UTF-16), is kept whole.
- No more is held than the beginning of one OBX and of one document, up to where it counts as long.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass

# An OBX whose fifth component begins later than this is kept whole.
_LONGEST_HEAD = 1 << 16
# Blank lines beyond this end a document.
_LONGEST_GAP = 1 << 12
_HEADER = re.compile(rb"[\s\x0b\xef\xbb\xbf]{0,64}(?:MSH|FHS|BHS)([^\w\s])([^\w\s]?)")
_ENOUGH = 80
_BEGUN = re.compile(rb"[\r\n][ \t]*(?:O|OB|OBX)?")
_GAP = re.compile(rb"[\r\n][ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Text:
    """Bytes that stay in the message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Begin:
    """A document is cut out from here on; `encoding` is ED.4."""

    encoding: str


@dataclass(frozen=True, slots=True)
class Data:
    """The next bytes of the document, as they stand in the message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The document ends here."""


Event = Text | Begin | Data | End
_Out = list[Event]


class Lifter:
    """Takes a message in pieces. `least` is the size in bytes from which a document is cut out."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._rest = bytearray()
        self._searched = 0
        self._final = False
        self._encoding = ""
        self._held: bytearray | None = None  # of a document that is not long yet
        self._next: Callable[[_Out], bool] = self._begin
        self._separator, self._component = b"|", b"^"

    def feed(self, data: bytes) -> list[Event]:
        """Return what these bytes tell."""
        self._rest += data
        out: _Out = []
        while self._rest and self._next(out):
            pass
        return out

    def end(self) -> list[Event]:
        """Return what is left at the end of the message: call it once."""
        self._final = True
        out = self.feed(b"")
        if self._next == self._document:
            self._close(out)
        if self._rest:
            out.append(Text(self._taken(len(self._rest))))
        return out

    # Each of these looks at what is at hand, and tells whether to go on with it; false waits for more.

    def _begin(self, out: _Out) -> bool:
        if len(self._rest) < _ENOUGH and not self._final:
            return False
        found = _HEADER.match(self._rest)
        if found is None:
            self._next = self._keep
        else:
            self._separator, self._component = found[1], found[2] or b"^"
            self._ends = re.compile(b"[" + re.escape(self._separator + self._component) + b"\r\n]")
            self._segment = re.compile(rb"[A-Z][A-Z0-9]{2}(?:" + re.escape(self._separator) + rb"|[\r\n]|\Z)")
            self._obx = re.compile(rb"[\r\n][ \t]*OBX" + re.escape(self._separator))
            self._next = self._skip
        return True

    def _keep(self, out: _Out) -> bool:
        out.append(Text(self._taken(len(self._rest))))
        return False

    def _skip(self, out: _Out) -> bool:
        """Up to the next line that begins an OBX."""
        found = self._obx.search(self._rest)
        if found is not None:
            out.append(Text(self._taken(found.end() - 4)))
            self._next = self._head
            return True
        # What is left may be the beginning of one.
        start = max(self._rest.rfind(b"\r", -_ENOUGH), self._rest.rfind(b"\n", -_ENOUGH))
        left = start if start >= 0 and _BEGUN.fullmatch(self._rest, start) and not self._final else len(self._rest)
        if left:
            out.append(Text(self._taken(left)))
        return False

    def _head(self, out: _Out) -> bool:
        """In an OBX, before OBX-5.5."""
        line = bytes(self._rest[:_LONGEST_HEAD])
        found = _GAP.search(line)
        parts = line[: found.start() if found else len(line)].split(self._separator, 5)
        if len(parts) > 3 and parts[2].strip().upper() != b"ED":
            self._next = self._skip
        elif len(parts) > 5 and len(value := parts[5].split(self._component, 4)) > 4:
            whole = self._separator not in b"".join(value[:4])
            start = sum(map(len, parts[:5])) + 5 + sum(map(len, value[:4])) + 4
            self._encoding = value[3].decode("latin-1").strip().upper()
            if whole:
                out.append(Text(self._taken(start)))
                self._held = bytearray()
            self._next = self._document if whole else self._skip
        elif found or self._final or len(line) >= _LONGEST_HEAD:
            self._next = self._skip
        else:
            return False
        return True

    def _document(self, out: _Out) -> bool:
        found = self._ends.search(self._rest, self._searched)
        if found is None:
            self._searched = 0
            return self._data(out, len(self._rest))
        if found[0] in (self._separator, self._component):
            self._data(out, found.start())
            return self._close(out)
        return self._line_end(out, found.start())

    def _line_end(self, out: _Out, at: int) -> bool:
        gap = _GAP.match(self._rest, at)
        assert gap is not None
        if not self._final and len(self._rest) < gap.end() + 4 and len(gap[0]) <= _LONGEST_GAP:
            self._data(out, at)
            return False
        if len(gap[0]) > _LONGEST_GAP or gap.end() == len(self._rest) or self._segment.match(self._rest, gap.end()):
            self._data(out, at)
            return self._close(out)
        self._searched = gap.end()
        return True

    def _data(self, out: _Out, size: int) -> bool:
        data, self._searched = self._taken(size), 0
        if self._held is None:
            out.append(Data(data))
            return False
        self._held += data
        if len(self._held) >= self._least:
            out += [Begin(self._encoding), Data(bytes(self._held))]
            self._held = None
        return False

    def _close(self, out: _Out) -> bool:
        out.append(End() if self._held is None else Text(bytes(self._held)))
        self._held, self._searched = None, 0
        self._next = self._skip
        return True

    def _taken(self, size: int) -> bytes:
        data = bytes(self._rest[:size])
        del self._rest[:size]
        return data


class Base64:
    """Decodes base64 in pieces, as long as it is as one would write it anew: then the content alone tells the text."""

    def __init__(self) -> None:
        self.left = b""  # text that is not decoded
        self._ended = False

    def feed(self, text: bytes) -> bytes | None:
        """Return the bytes of the text so far; None where it goes on otherwise, and that stands in `left`."""
        text = self.left + text
        size = len(text) // 4 * 4
        now, self.left = text[:size], text[size:]
        data = _decoded(now)
        if data is None or (self._ended and text):
            self.left = text
            return None
        self._ended = now.endswith(b"=")
        return data


def _decoded(text: bytes) -> bytes | None:
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None
    return data if binascii.b2a_base64(data, newline=False) == text else None
