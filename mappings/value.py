"""One repetition of a field, cut into components when asked, its text fit for FHIR.

https://hl7.org/fhir/R4/datatypes.html#string
"""

from __future__ import annotations

import re

from mappings.delimiters import NULL, Delimiters, unescape

MAX_STRING = 1024 * 1024
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """Return `text` without the characters FHIR forbids, trimmed, and no longer than FHIR allows."""
    if text.isprintable() and len(text) <= MAX_STRING:
        return text.strip()
    return _FORBIDDEN.sub("", text)[:MAX_STRING].strip()


class Value:
    """A repetition or component; parts count from 1. HL7's `""` reads as empty: rows see to deletions."""

    __slots__ = ("marks", "parts", "raw")

    def __init__(self, raw: str, marks: Delimiters, separator: str) -> None:
        self.raw = raw
        self.marks = marks
        self.parts = raw.split(separator) if separator else [raw]

    def text(self, number: int = 1) -> str:
        """Return a part as text, unescaped; "" where it is absent, empty or to be deleted."""
        if not 0 < number <= len(self.parts):
            return ""
        part = self.parts[number - 1]
        if not part or part == NULL:
            return ""
        if self.marks.escape in part:
            part = unescape(part, self.marks)
        elif part.isalnum() and len(part) <= MAX_STRING:
            return part  # as most are, and nothing is to be cleaned
        return clean(part)

    def code(self, number: int = 1) -> str:
        """Return a part as FHIR's code: blanks inside are single."""
        text = self.text(number)
        return text if text.isalnum() else " ".join(text.split())

    def sub(self, number: int = 1) -> Value:
        """Return a component, cut into subcomponents."""
        raw = self.parts[number - 1] if number <= len(self.parts) else ""
        return Value(raw, self.marks, self.marks.subcomponent)

    def whole(self) -> str:
        """Return the repetition as one text, as for ST, TX and FT, which have no components."""
        raw = "" if self.raw == NULL else self.raw
        return clean(unescape(raw, self.marks))

    def __bool__(self) -> bool:
        return any(part and part != NULL for part in self.parts)
