"""A lean, lossless, lazy reader of HL7 v2 messages: any version, any delimiters, Z segments, every line ending.

HL7 v2.5.1 chapter 2: https://www.hl7.org/implement/standards/product_brief.cfm?product_id=144
Nothing here raises on what a sender wrote: text that is no HL7 becomes a message without segments, kept as `prefix`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from mappings.charset import Decoded, decode
from mappings.delimiters import DEFAULT, NULL, Delimiters, declared, escape, unescape, usable_separator
from mappings.header import Header, Problem, header

__all__ = [
    "DEFAULT",
    "NULL",
    "Decoded",
    "Delimiters",
    "Header",
    "Message",
    "Path",
    "Problem",
    "Segment",
    "decode",
    "escape",
    "header",
    "order_key",
    "order_keys",
    "parse",
    "split_batch",
    "unescape",
]

# both are read once from left to right, whatever a hostile sender writes
_HEAD = re.compile(r"(?:MSH|FHS|BHS)[^\w\s]")
_GAP = re.compile(r"[\r\n][ \t\r\n]*+")
_HEADERS = frozenset({"MSH", "FHS", "BHS"})
_PATH = re.compile(
    r"(?P<segment>[A-Z][A-Z0-9]{2})(?:\[(?P<nth>\d+)\])?-(?P<field>\d+)(?:\[(?P<repetition>\d+)\])?"
    r"(?:\.(?P<component>\d+)(?:\.(?P<subcomponent>\d+))?)?\Z"
)


class Path(NamedTuple):
    """`OBX[2]-5[1].4.1`: every number counts from 1, and is 1 where left out."""

    segment: str
    nth: int
    field: int
    repetition: int
    component: int
    subcomponent: int

    @classmethod
    def of(cls, text: str) -> Path:
        """Read a path; raises ValueError naming it where it is none."""
        found = _PATH.match(text)
        if not found:
            raise ValueError(f"{text!r} is not a path such as PID-3[2].4.1")
        segment, *numbers = found.groups()
        return cls(str(segment), *(int(number or 1) for number in numbers))


class Segment:
    """One segment: its text, the line end that followed it, and its fields, split when first asked for."""

    __slots__ = ("_fields", "delimiters", "end", "id", "text")

    def __init__(self, text: str, end: str, delimiters: Delimiters) -> None:
        self.id = text[:3]
        self.text = text
        self.end = end
        self.delimiters = delimiters
        self._fields: list[str] | None = None

    def __repr__(self) -> str:
        return f"Segment({self.text!r})"

    @property
    def fields(self) -> list[str]:
        """Raw fields, such that `fields[3]` is PID-3; index 0 holds the segment's name."""
        if self._fields is None:
            separator = self.delimiters.field
            self._fields = self.text.split(separator)
            if self.id in _HEADERS:
                self._fields.insert(1, separator)
        return self._fields

    def encode(self) -> str:
        """Return the segment's text put together again from its fields."""
        fields = self.fields
        if self.id in _HEADERS:
            fields = [fields[0], *fields[2:]]
        return self.delimiters.field.join(fields)

    def field(self, number: int) -> str | None:
        """Return a raw field with all its repetitions; None where the segment ends before it."""
        fields = self.fields
        return fields[number] if number < len(fields) else None

    def repetitions(self, number: int) -> list[str]:
        """Return the raw repetitions of a field; none where it is absent or empty."""
        raw = self.field(number)
        if not raw:
            return []
        if self.id in _HEADERS and number <= 2:
            return [raw]
        return raw.split(self.delimiters.repetition)

    def raw(self, field: int, repetition: int = 1, component: int = 1, subcomponent: int = 1) -> str | None:
        """Return one value as it was sent, escapes and all; None where it is absent, "" where it is empty."""
        value = self.field(field)
        if value is None or (self.id in _HEADERS and field <= 2):
            return value
        marks = self.delimiters
        for mark, number in (
            (marks.repetition, repetition),
            (marks.component, component),
            (marks.subcomponent, subcomponent),
        ):
            parts = value.split(mark)
            if number > len(parts):
                return None
            value = parts[number - 1]
        return value

    def get(self, field: int, repetition: int = 1, component: int = 1, subcomponent: int = 1) -> str | None:
        """Return one value with its escapes resolved; None where absent; HL7's delete sign stays as `NULL`."""
        value = self.raw(field, repetition, component, subcomponent)
        if value is None or (self.id in _HEADERS and field <= 2):
            return value
        return unescape(value, self.delimiters)


class Message:
    """The segments of one message, in order, with all that stood before and between them."""

    __slots__ = ("delimiters", "prefix", "segments")

    def __init__(self, segments: list[Segment], delimiters: Delimiters, prefix: str = "") -> None:
        self.segments = segments
        self.delimiters = delimiters
        self.prefix = prefix

    def encode(self) -> str:
        """Return the text this message was parsed from, to the character."""
        return self.prefix + "".join([segment.encode() + segment.end for segment in self.segments])

    def all(self, segment_id: str) -> Iterator[Segment]:
        """Yield the segments of this name, in order."""
        return (segment for segment in self.segments if segment.id == segment_id)

    def first(self, segment_id: str) -> Segment | None:
        """Return the first segment of this name, or None."""
        return next(self.all(segment_id), None)

    def raw(self, path: str) -> str | None:
        """Return the value at a path as sent; raises ValueError where `path` is none."""
        return self._at(path, unescaped=False)

    def get(self, path: str) -> str | None:
        """Return the value at a path, unescaped; None: absent, "": empty, `NULL`: to be deleted.

        Components left out are the first one: `PID-3` is `PID-3[1].1.1`. Raises ValueError where `path` is none.
        """
        return self._at(path, unescaped=True)

    def _at(self, text: str, *, unescaped: bool) -> str | None:
        path = Path.of(text)
        found = [segment for segment in self.segments if segment.id == path.segment]
        if not 0 < path.nth <= len(found):
            return None
        segment = found[path.nth - 1]
        return segment.get(*path[2:]) if unescaped else segment.raw(*path[2:])


def parse(text: str) -> Message:
    """Split a message into segments; fields are split when asked for.

    A line that does not begin like a segment belongs to the segment before it: some senders leave line breaks in text.
    """
    start = _start(text)
    if start is None:
        return Message([], DEFAULT, text)
    delimiters = _delimiters(text[start : start + 32])
    begins = re.compile(rf"[A-Z][A-Z0-9]{{2}}(?:{re.escape(delimiters.field)}|[\r\n]|\Z)").match
    segments = []
    at = start
    for gap in _GAP.finditer(text, start):
        if gap.end() == len(text) or begins(text, gap.end()):
            segments.append(Segment(text[at : gap.start()], gap.group(), delimiters))
            at = gap.end()
    if at < len(text):
        segments.append(Segment(text[at:], "", delimiters))
    return Message(segments, delimiters, text[:start])


def split_batch(text: str) -> list[str]:
    """Return the messages of a batch (FHS, BHS, BTS, FTS around them) or of several messages sent as one."""
    message = parse(text)
    starts = [i for i, segment in enumerate(message.segments) if segment.id == "MSH"]
    bounds = pairwise([*starts, len(message.segments)])
    return ["".join(s.text + s.end for s in message.segments[a:b] if s.id not in _ENVELOPE) for a, b in bounds]


_ENVELOPE = frozenset({"FHS", "BHS", "BTS", "FTS"})


def order_key(message: Message) -> str:
    """Return what messages must be worked off in order by: the patient, else the order, else the message alone.

    PID-3.1 with its authority (the sender's own name where PID-3.4 names none), else the filler's or placer's order
    number, else MSH-10.
    """
    return order_keys(message)[0]


# A message of more patients than this is kept in the order of the first ones alone.
_MOST_ORDERS = 16


def order_keys(message: Message, by: str = "patient") -> tuple[str, ...]:
    """Return all that a message must be worked off in order by, what leads first.

    By `patient`: every patient that it names, so that a merge (A40) is of both. By `order`: the filler's or placer's
    number. Or by the value at a path such as PV1-19. Where that is not there, the next of patient, order and message.
    """
    found: tuple[str, ...] = ()
    if by == "order":
        found = _order_number(message)
    elif by != "patient":
        value = message.get(by)
        found = (f"{by}|{_sender(message)}|{value}",) if value and value != NULL else ()
    return found or _patient_numbers(message) or _order_number(message) or (_by_itself(message),)


def _sender(message: Message) -> str:
    head = message.first("MSH")
    return "" if head is None else f"{head.get(3) or ''}/{head.get(4) or ''}"


def _patient_numbers(message: Message) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for segment in message.segments:
        field = {"PID": 3, "MRG": 1}.get(segment.id)
        number = segment.get(field) if field else None
        if field and number and number != NULL:
            authority = segment.get(field, 1, 4, 2) or segment.get(field, 1, 4, 1) or _sender(message)
            found[f"patient|{authority}|{number}"] = None
    return tuple(found)[:_MOST_ORDERS]


def _order_number(message: Message) -> tuple[str, ...]:
    for path in ("OBR-3", "ORC-3", "OBR-2", "ORC-2"):
        order = message.get(path)
        if order and order != NULL:
            return (f"order|{_sender(message)}|{order}",)
    return ()


def _by_itself(message: Message) -> str:
    return f"message|{_sender(message)}|{message.get('MSH-10') or ''}"


def _start(text: str) -> int | None:
    """Where the first header segment begins: after a byte order mark, blanks or framing, never inside a line."""
    for found in _HEAD.finditer(text):
        before = at = found.start()
        while at and text[at - 1] in " \t\x0b\ufeff":
            at -= 1
        if at == 0 or text[at - 1] in "\r\n" or not {"\x0b", "\ufeff"}.isdisjoint(text[at:before]):
            return before
    return None


def _delimiters(text: str) -> Delimiters:
    separator = usable_separator(text[3:4])
    encoding = re.split(rf"[\r\n{re.escape(separator)}]", text[4:16], maxsplit=1)[0]
    return declared(separator, encoding)
