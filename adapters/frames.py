"""MLLP framing without I/O: bytes in any pieces become frames, and nothing that is not a frame goes unreported.

https://www.hl7.org/documentcenter/public/wg/inm/mllp_transport_specification.PDF

The rules of this file:

- A frame is VT, content, FS, CR. The FS alone ends it: waiting for a CR that a sender forgets would stop the line.
- VT and FS can never be content, so a VT inside a frame says that the sender gave the last one up and starts again.
- CR and LF between frames mean nothing. Other bytes there are junk: kept up to a bound, counted, reported.
- A frame over the limit is reported at once with its beginning, then dropped up to its FS or the next VT.
- What comes out depends on the bytes alone, not on how they were cut: each chunk is split once at VT and FS by C code
  and its pieces walk through one table, so no byte is looked at a second time when more arrive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

VT, FS, CR = b"\x0b", b"\x1c", b"\r"
LINE_ENDS = b"\r\n"


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


Event = Frame | Junk | TooLarge


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
    """Return the content as a frame. Raises ValueError if it holds a VT or FS, which would break the framing."""
    if VT in content or FS in content:
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
    """The receiving end of one MLLP connection. Holds at most `limit` bytes of a frame and `kept` bytes of junk."""

    def __init__(self, limit: int, kept: int = 1024) -> None:
        self.limit = limit
        self.kept = kept
        self.state = State.BETWEEN
        self._held = bytearray()
        self._size = 0

    def receive(self, chunk: bytes) -> list[Event]:
        """Return what these bytes complete, in order."""
        return [event for piece in _pieces(chunk) if (event := self._step(piece)) is not None]

    def finish(self) -> list[Event]:
        """Return what the end of the stream leaves unfinished: call it once, when the connection has ended."""
        event = self._give_up()
        self.state = State.BETWEEN
        return [] if event is None else [event]

    def _step(self, piece: bytes | Mark) -> Event | None:
        return self._mark(piece) if isinstance(piece, Mark) else self._text(piece)

    def _mark(self, mark: Mark) -> Event | None:
        whole = self.state is State.INSIDE and mark is Mark.END
        event = Frame(bytes(self._take()[0])) if whole else self._give_up()
        self.state = _NEXT[self.state][mark]
        return event

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
        if self._size <= self.limit:
            return None
        self.state = State.DROPPING
        return TooLarge(bytes(self._take()[0][: self.kept]), self.limit)

    def _keep(self, text: bytes, bound: int) -> None:
        self._held += text[: max(0, bound - self._size)]
        self._size += len(text)

    def _take(self) -> tuple[bytearray, int]:
        held, size = self._held, self._size
        self._held, self._size = bytearray(), 0
        return held, size

    def _give_up(self) -> Event | None:
        held, size = self._take()
        return Junk(_REASON[self.state], bytes(held), size) if size else None


# A mark always has a meaning; whether bytes were lost by it is told by what was held when it came.
_NEXT: dict[State, dict[Mark, State]] = {
    State.BETWEEN: {Mark.START: State.INSIDE, Mark.END: State.BETWEEN},
    State.INSIDE: {Mark.START: State.INSIDE, Mark.END: State.BETWEEN},
    State.DROPPING: {Mark.START: State.INSIDE, Mark.END: State.BETWEEN},
}
_REASON = {State.BETWEEN: "unframed", State.INSIDE: "unfinished"}
