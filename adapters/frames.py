"""MLLP framing without I/O: bytes in any pieces become frames, and nothing that is not a frame goes unreported.

https://www.hl7.org/documentcenter/public/wg/inm/mllp_transport_specification.PDF

The rules of this file:

- A frame is VT, content, FS, CR. The FS alone ends it: waiting for a CR that a sender forgets would stop the line.
- VT and FS can never be content, so a VT inside a frame says that the sender gave the last one up and starts again.
- CR and LF between frames mean nothing. Other bytes there are junk: kept up to a bound, counted, reported.
- A frame over the limit is reported at once with its beginning, then dropped up to its FS or the next VT.
- A frame that is longer than may be held comes in parts, as it arrives, and ends with its last one.
- Content in UTF-16 holds the bytes of VT and FS inside its characters. It is told by how it writes MSH, and ends only
  at FS and CR behind a line end of two bytes; a new VT inside it says nothing.
- What comes out depends on the bytes alone, not on how they were cut, but for where parts are: each chunk is split once
  at VT and FS by C code and its pieces walk through one table, so no byte is looked at a second time when more arrive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

VT, FS, CR = b"\x0b", b"\x1c", b"\r"
LINE_ENDS = b"\r\n"
# How content in UTF-16 begins, and how its lines end.
_WIDE = (b"\xff\xfeM\0S\0H\0", b"\xfe\xff\0M\0S\0H", b"M\0S\0H\0", b"\0M\0S\0H")
_WIDE_ENDS = (b"\r\0", b"\0\r", b"\n\0", b"\0\n")


@dataclass(frozen=True, slots=True)
class Frame:
    """The content of one whole frame, without its VT, FS and CR."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Junk:
    """Bytes outside any frame (`unframed`) or of a frame given up (`unfinished`): the first ones, and how many."""

    reason: str
    data: bytes
    size: int


@dataclass(frozen=True, slots=True)
class TooLarge:
    """A frame passed the limit (bytes): its beginning. Its end, when it comes, is dropped without a word."""

    data: bytes
    limit: int


@dataclass(frozen=True, slots=True)
class Part:
    """The next piece of a frame that is longer than may be held: more follow, up to a Last, a TooLarge or a Junk."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Last:
    """The rest of a frame that came in parts."""

    content: bytes


Event = Frame | Junk | TooLarge | Part | Last


class State(Enum):
    """Where the last byte left us."""

    BETWEEN = auto()
    INSIDE = auto()
    DROPPING = auto()


class Mark(Enum):
    """The two bytes that mean something."""

    START = auto()
    END = auto()


def wrap(content: bytes) -> bytes:
    """Return the content as a frame. Raises ValueError if it holds a VT or FS, which would break the framing.

    Content in UTF-16 whose last line is ended may hold them: `Framer` knows how to tell them from its end.
    """
    if (VT in content or FS in content) and not (content.startswith(_WIDE) and content.endswith(_WIDE_ENDS)):
        raise ValueError("MLLP content cannot hold the bytes 0x0B or 0x1C")
    return VT + content + FS + CR


def _pieces(chunk: bytes) -> Iterator[bytes | Mark]:
    for ends, part in enumerate(chunk.split(FS)):
        if ends:
            yield Mark.END
        for starts, text in enumerate(part.split(VT)):
            if starts:
                yield Mark.START
            if text:
                yield text


class Framer:
    """The receiving end of one MLLP connection. Holds at most `limit` bytes of a frame and `kept` bytes of junk.

    With `whole`, a frame of more bytes than that comes in parts of about as many, and no more is held.
    """

    def __init__(self, limit: int, kept: int = 1024, whole: int | None = None) -> None:
        self.limit = limit
        self.kept = kept
        self.state = State.BETWEEN
        self._whole = limit if whole is None else whole
        self._held = bytearray()
        self._size = 0
        self._given = 0  # bytes that went out in parts
        self._wide: bool | None = None  # of a frame that came in parts: whether it is UTF-16
        self._ending = False  # whether an FS was met that ends UTF-16 if a CR follows

    def receive(self, chunk: bytes) -> list[Event]:
        """Return what these bytes complete, in order."""
        return [event for piece in _pieces(chunk) if (event := self._step(piece)) is not None]

    def finish(self) -> list[Event]:
        """Return what the end of the stream leaves unfinished: call it once, when the connection has ended."""
        event = self._give_up()
        self.state = State.BETWEEN
        return [] if event is None else [event]

    def _step(self, piece: bytes | Mark) -> Event | None:
        if self._ending:
            return self._after_end(piece)
        return self._mark(piece) if isinstance(piece, Mark) else self._text(piece)

    def _mark(self, mark: Mark) -> Event | None:
        if self.state is State.INSIDE and self._size and self._is_wide():
            return self._mark_in_wide(mark)
        event = self._end() if self.state is State.INSIDE and mark is Mark.END else self._give_up()
        self.state = _NEXT[self.state][mark]
        return event

    def _end(self) -> Event:
        held, _, given = self._take()
        return Last(bytes(held)) if given else Frame(bytes(held))

    def _text(self, text: bytes) -> Event | None:
        if self.state is State.DROPPING:
            return None
        if self.state is State.INSIDE:
            return self._content(text)
        if not self._size:
            text = text.lstrip(LINE_ENDS)
        self._keep(text, self.kept)
        return None

    def _content(self, text: bytes) -> Event | None:
        self._keep(text, self.limit)
        if self._size > self.limit:
            self.state = State.DROPPING
            held, _, given = self._take()
            return TooLarge(b"" if given else bytes(held[: self.kept]), self.limit)
        return self._part() if len(self._held) > self._whole else None

    def _part(self) -> Event:
        if self._wide is None:
            self._wide = self._held.startswith(_WIDE)
        # What is left tells how a line ends, should an FS come next.
        part = bytes(self._held[:-2])
        del self._held[:-2]
        self._given += len(part)
        return Part(part)

    def _is_wide(self) -> bool:
        return self._held.startswith(_WIDE) if self._wide is None else self._wide

    def _mark_in_wide(self, mark: Mark) -> Event | None:
        self._ending = mark is Mark.END and self._size % 2 == 0 and self._held.endswith(_WIDE_ENDS)
        return None if self._ending else self._content(_BYTES[mark])

    def _after_end(self, piece: bytes | Mark) -> Event | None:
        """Say whether the FS behind a line of UTF-16 was the end: a CR follows it, or the next frame begins."""
        self._ending = False
        if piece is Mark.START or (isinstance(piece, bytes) and piece.startswith(CR)):
            event, self.state = self._end(), State.BETWEEN
            self._step(piece)  # nothing is held, so that nothing is given up
            return event
        return self._content(FS + (FS if isinstance(piece, Mark) else piece))

    def _keep(self, text: bytes, bound: int) -> None:
        self._held += text[: max(0, bound - self._size)]
        self._size += len(text)

    def _take(self) -> tuple[bytearray, int, int]:
        taken = self._held, self._size, self._given
        self._held, self._size, self._given, self._wide, self._ending = bytearray(), 0, 0, None, False
        return taken

    def _give_up(self) -> Event | None:
        held, size, given = self._take()
        return Junk(_REASON[self.state], b"" if given else bytes(held), size) if size else None


# A mark always has a meaning; whether bytes were lost by it is told by what was held when it came.
_NEXT: dict[State, dict[Mark, State]] = {
    State.BETWEEN: {Mark.START: State.INSIDE, Mark.END: State.BETWEEN},
    State.INSIDE: {Mark.START: State.INSIDE, Mark.END: State.BETWEEN},
    State.DROPPING: {Mark.START: State.INSIDE, Mark.END: State.BETWEEN},
}
_REASON = {State.BETWEEN: "unframed", State.INSIDE: "unfinished"}
_BYTES = {Mark.START: VT, Mark.END: FS}
