"""What a receiver's acknowledgement says to the one who sent: for whom it is, its code, and the codes of its errors.

HL7 v2.5.1 chapter 2.9.2 and tables 0008 (acknowledgement codes) and 0357 (error codes)
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from mappings.hl7v2 import Segment, decode, parse

Meaning = Literal["taken", "later", "person", "change"]
"""The receiver took it, may take it later, a person must look at it, or it must be changed first."""

_CODES = frozenset(("AA", "AE", "AR", "CA", "CE", "CR"))
# ERR-3 of what the sender must change: type, event, processing id, version.
_CHANGE = frozenset(("200", "201", "202", "203"))
# Of what passes: locked records and errors inside the receiver.
_LATER = frozenset(("206", "207"))


class Answered(msgspec.Struct, frozen=True):
    """An acknowledgement: MSA-1, MSA-2, and ERR-3 (before 2.5, ERR-1.4) with the places that they name."""

    code: str
    control_id: str
    errors: tuple[str, ...] = ()
    places: tuple[str, ...] = ()

    def belongs_to(self, control_id: str) -> bool:
        """Tell whether it answers this message: one that could not read MSH-10 names none, and can only refuse."""
        return self.control_id == control_id or (not self.control_id and self.code not in ("AA", "CA"))

    @property
    def meaning(self) -> Meaning:
        """Return what to do about it.

        >>> [Answered(*one).meaning for one in
        ...  (("AA", "1"), ("CE", "1"), ("AE", "1"), ("AR", "1"), ("AR", "1", ("207",)), ("AR", "1", ("200",)))]
        ['taken', 'later', 'person', 'later', 'later', 'change']
        """
        codes = {*self.errors}
        if self.code in ("AA", "CA"):
            return "taken"
        if self.code == "CR" or (self.code == "AR" and codes & _CHANGE):
            return "change"
        if self.code == "CE" or (self.code == "AR" and codes <= _LATER):
            return "later"
        return "person"

    def __str__(self) -> str:
        """Return it without the receiver's own words, which may be of a patient."""
        codes = f" with {', '.join(self.errors)}" if self.errors else ""
        code = self.code if self.code in _CODES else "with a code that is none"
        return f"{code}{codes}{f' at {self.places[0]}' if self.places else ''}"


def answered(data: bytes) -> Answered | None:
    """Read an acknowledgement; None where it has no MSA, and so is none."""
    message = parse(decode(data).text)
    msa = message.first("MSA")
    if msa is None:
        return None
    errors = [error for segment in message.all("ERR") for error in _errors(segment)]
    codes = tuple(_code(code) for code, _ in errors if code)
    return Answered(msa.get(1) or "", msa.get(2) or "", codes, tuple(place for _, place in errors if place))


def _errors(segment: Segment) -> list[tuple[str, str]]:
    """Return code and place of each error: ERR-3 and ERR-2, or before 2.5 the components of ERR-1."""
    if segment.field(3) or segment.field(2):
        return [(segment.get(3) or "", _place([segment.get(2, 1, n) for n in (1, 2, 3)]))]
    count = len(segment.repetitions(1))
    return [
        (segment.get(1, n, 4, 1) or "", _place([segment.get(1, n, part) for part in (1, 2, 3)]))
        for n in range(1, count + 1)
    ]


def _code(text: str) -> str:
    """Return a code as far as it is one, with a digit in it: what else stands there may be a patient's name."""
    return text if re.fullmatch(r"[A-Z]{0,4}\d{1,6}", text) else "?"


def _place(parts: list[str | None]) -> str:
    name, nth, field = (part or "" for part in parts)
    if not (len(name) == 3 and name.isalnum()):
        return ""
    place = name if nth in ("", "1") or not nth.isdigit() else f"{name}[{nth}]"
    return f"{place}-{field}" if field.isdigit() else place
