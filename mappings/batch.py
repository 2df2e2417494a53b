"""A file of HL7 v2: messages, alone or between batch segments, cut apart while it is read, counts checked.

HL7 v2.5.1 chapters 2.10.3 (batch protocol), 2.15.2 (BHS), 2.15.3 (BTS), 2.15.6 (FHS) and 2.15.7 (FTS)
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

Header = Literal["FHS", "BHS"]
Trailer = Literal["BTS", "FTS"]

# One character is one byte here, but in UTF-16. A segment begins where a line does, or a frame of MLLP.
_BOUNDARY = re.compile(r"(?:\A|(?<=[\r\n\x0b\x1c]))(?:\ufeff|\xef\xbb\xbf)?(MSH|FHS|BHS|BTS|FTS)(?=[^\w\s]|[\r\n]|\Z)")
_LINE_END = re.compile(r"\r\n|\r|\n")
# What may stand between messages: ends of lines, MLLP's framing, and the end of a file as DOS had it.
_AROUND = "\r\n\x0b\x1c\x1a\0"
# A boundary is known once a mark, the name and one character after it are there.
_NEEDED = 8
_WIDE = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
         (b"M\0S\0", "utf-16-le"), (b"F\0H\0", "utf-16-le"), (b"B\0H\0", "utf-16-le"),
         (b"\0M\0S", "utf-16-be"), (b"\0F\0H", "utf-16-be"), (b"\0B\0H", "utf-16-be"))  # fmt: skip


class Opened(NamedTuple):
    """The header of a file or a batch, as it stands there."""

    id: Header
    line: str


class Found(NamedTuple):
    """A message as it came; `whole` is False where the file ends in it though a trailer was to come."""

    raw: bytes
    whole: bool = True


class TooLarge(NamedTuple):
    """The beginning of a message that is longer than what is taken, and its size in bytes."""

    raw: bytes
    size: int


class Closed(NamedTuple):
    """The trailer of a file or a batch: `said` is its count, None where it has none, `counted` what was there."""

    id: Trailer
    said: str | None
    counted: int
    problem: str | None


class Odd(NamedTuple):
    """Something that does not belong there, in words of ours."""

    text: str


Event = Opened | Found | TooLarge | Closed | Odd


class Splitter:
    """Cuts a file apart: give it pieces by `feed`, then `end`. It holds no more than one message of `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._decoder: codecs.IncrementalDecoder | None = None
        self._first = b""
        self._codec = ""
        self._text = ""
        self._searched = 0
        self._dropped = 0
        self._kind = ""
        self._counts: dict[str, int] = {"messages": 0, "batches": 0}
        self._in_file = self._in_batch = False
        self._outside = 0
        self.line_end = ""

    @property
    def wide(self) -> str:
        """Return the codec of a file in UTF-16, "" for all others."""
        return self._codec if self._codec != "latin-1" else ""

    def feed(self, data: bytes) -> list[Event]:
        """Return what the next piece completes."""
        if self._decoder is None:
            self._first += data
            if len(self._first) < 4:
                return []
            data, self._first = self._first, b""
        self._text += self._decoded(data)
        return list(self._cut(len(self._text) - _NEEDED))

    def end(self) -> list[Event]:
        """Return what the end of the file completes, and what it lacks."""
        if self._decoder is None:
            self._text += self._decoded(self._first)
        found = list(self._cut(len(self._text)))
        found += self._finished(self._text, last=True)
        if self._in_batch:
            found.append(Odd("the file ends before the BTS of its batch: it may be cut off"))
        if self._in_file:
            found.append(Odd("the file ends before its FTS: it may be cut off"))
        return found

    def _decoded(self, data: bytes) -> str:
        if self._decoder is None:
            self._codec = next((codec for start, codec in _WIDE if data.startswith(start)), "latin-1")
            # What is no UTF-16 within such a file is kept as it is: it becomes a message that cannot be read.
            self._decoder = codecs.getincrementaldecoder(self._codec)("surrogatepass" if self.wide else "strict")
        return self._decoder.decode(data)

    def _cut(self, until: int) -> Iterator[Event]:
        start = 0
        for boundary in _BOUNDARY.finditer(self._text, self._searched):
            if boundary.start() > until:
                break
            if boundary.start() > start or self._kind:
                yield from self._finished(self._text[start : boundary.start()])
            start, self._kind = boundary.start(), boundary[1]
        self._text = self._text[start:]
        # The boundary that it begins with is known already.
        self._searched = max(1 if self._kind else 0, until - start)
        self._let_go()

    def _let_go(self) -> None:
        """Drop what lies beyond the limit of a message, so that one without an end fills no memory."""
        if not self.line_end and (found := _LINE_END.search(self._text[:-1])):
            self.line_end = found[0]
        beyond = len(self._text) - self._most - 3 * _NEEDED
        if beyond > 0:
            lost = self._text[self._most + _NEEDED : -2 * _NEEDED]
            self._dropped += len(lost) if lost.strip(_AROUND) else 0
            # The end is not searched yet, and a boundary there is known by what stands before it.
            self._text = self._text[: self._most + _NEEDED] + self._text[-2 * _NEEDED :]
            self._searched = len(self._text) - _NEEDED

    def _finished(self, text: str, *, last: bool = False) -> Iterator[Event]:
        """Give what ends here: a message, a header, a trailer, or text before the first of them."""
        kind, self._kind = self._kind, ""
        dropped, self._dropped = self._dropped, 0
        plain = text.strip(_AROUND).lstrip("\ufeff").removeprefix("\xef\xbb\xbf")
        if kind == "MSH":
            yield self._message(plain, len(plain) + dropped, last=last)
            return
        line, *rest = _LINE_END.split(plain, maxsplit=1)
        if kind in ("FHS", "BHS"):
            yield from self._opened(kind, line)
        elif kind:
            yield from self._closed(kind, line)
        elif plain.strip():
            yield Odd("there is text that belongs to no message")
        if kind and rest and rest[0].strip():
            yield Odd(f"there is text after {kind} that belongs to no message")

    def _message(self, plain: str, size: int, *, last: bool) -> Event:
        self._counts["messages"] += 1
        self._outside += not self._in_batch
        raw = self._bytes(plain)
        if size > self._most:
            return TooLarge(raw[: self._most], size)
        return Found(raw, whole=not (last and (self._in_batch or self._in_file)))

    def _opened(self, kind: str, line: str) -> Iterator[Event]:
        if self._in_batch:
            yield Odd("a batch has no BTS")
            self._in_batch = False
        if kind == "FHS":
            if self._in_file:
                yield Odd("a file within the file has no FTS")
            self._in_file, self._counts["batches"], self._outside = True, 0, 0
            yield Opened("FHS", line)
        else:
            self._in_batch = True
            self._counts["batches"] += 1
            self._counts["messages"] = 0
            yield Opened("BHS", line)

    def _closed(self, kind: str, line: str) -> Iterator[Event]:
        fields = line.split(line[3]) if len(line) > 3 else []
        said = (fields[1].strip() if len(fields) > 1 else "") or None
        if kind == "BTS":
            counted, problem = self._counts["messages"], None if self._in_batch else "BTS without BHS"
            self._in_batch = False
            yield Closed("BTS", said, counted, problem or _miscounted(said, {counted}, "messages"))
            return
        if self._in_batch:
            yield Odd("a batch has no BTS")
            self._in_batch = False
        counted, problem = self._counts["batches"], None if self._in_file else "FTS without FHS"
        # Where no batch is marked, senders count one, or the messages.
        good = {counted} if counted else {0, 1, self._outside}
        self._in_file, self._counts["batches"] = False, 0
        yield Closed("FTS", said, counted, problem or _miscounted(said, good, "batches"))

    def _bytes(self, text: str) -> bytes:
        if not self.wide:
            return text.encode("latin-1")
        mark = codecs.BOM_UTF16_LE if self.wide == "utf-16-le" else codecs.BOM_UTF16_BE
        return mark + text.encode(self.wide, "surrogatepass")


def _miscounted(said: str | None, good: set[int], what: str) -> str | None:
    if said is None:
        return None
    name = "BTS-1" if what == "messages" else "FTS-1"
    if not re.fullmatch(r"[0-9]{1,9}", said):
        return f"{name} is no number"
    return None if int(said) in good else f"{name} says {int(said)} {what}, there are {max(good)}"
