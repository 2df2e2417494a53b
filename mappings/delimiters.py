r"""The delimiters a message declares, and its escape sequences.

HL7 v2.5.1 chapter 2.5.4 (delimiters) and 2.7 (escape sequences): https://www.hl7.org/implement/standards/product_brief.cfm?product_id=144
"""

from __future__ import annotations

import re

import msgspec

NULL = '""'
"""How HL7 says "delete what you have": neither empty nor absent."""


class Delimiters(msgspec.Struct, frozen=True):
    """MSH-1 and the characters of MSH-2; `truncation` came with v2.7 and is empty where not declared."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = ""

    @property
    def encoding(self) -> str:
        """MSH-2 as this sender would write it."""
        return self.component + self.repetition + self.escape + self.subcomponent + self.truncation

    @property
    def letters(self) -> dict[str, str]:
        r"""Escape letter → delimiter, as in `\F\`."""
        return {
            "F": self.field,
            "S": self.component,
            "T": self.subcomponent,
            "R": self.repetition,
            "E": self.escape,
            "P": self.truncation or "#",
        }


DEFAULT = Delimiters()


def declared(field: str, encoding: str) -> Delimiters:
    """Return the delimiters of MSH-1 and MSH-2; a character that is missing or unusable takes its usual value."""
    if field == "|" and encoding == "^~\\&":
        return DEFAULT
    usual = (*DEFAULT.encoding, "")
    once = "".join(dict.fromkeys(encoding))  # some senders write the escape character twice
    found = [once[i : i + 1] or usual[i] for i in range(5)]
    usable = [char if not char.isalnum() else usual[i] for i, char in enumerate(found)]
    return Delimiters(usable_separator(field), *usable)


def usable_separator(field: str) -> str:
    """Return MSH-1, or `|` where a letter, digit or nothing stands in its place."""
    return field if field and not field.isalnum() and field not in "\r\n" else "|"


def unescape(text: str, delimiters: Delimiters = DEFAULT) -> str:
    """Return `text` with its escape sequences resolved; call it on a value that has been split already.

    A sequence that is unknown or broken stays as it was sent.
    """
    mark = delimiters.escape
    if mark not in text:
        return text
    pieces = text.split(mark)
    out = [pieces[0]]
    position = 1
    while position < len(pieces):
        meaning = None if position + 1 == len(pieces) else _meaning(pieces[position], delimiters)
        if meaning is None:
            out.append(mark + pieces[position])
            position += 1
        else:
            out.append(meaning + pieces[position + 1])
            position += 2
    return "".join(out)


def escape(text: str, delimiters: Delimiters = DEFAULT) -> str:
    r"""Return `text` fit to stand in a message: delimiters become their letters, line breaks `\X0D\` or `\X0A\`."""
    mark = delimiters.escape
    letter = {char: f"{mark}{name}{mark}" for name, char in delimiters.letters.items() if char in delimiters.encoding}
    letter[delimiters.field] = f"{mark}F{mark}"
    letter |= {"\r": f"{mark}X0D{mark}", "\n": f"{mark}X0A{mark}"}
    return "".join(letter.get(char, char) for char in text)


_FORMAT = {".br": "\n", ".ce": "\n", ".fi": "", ".nf": "", "H": "", "N": ""}
_COUNTED = re.compile(r"\.(sp|sk|in|ti) ?([+-]?\d{0,3})\Z")
_HEX = re.compile(r"X((?:[0-9A-Fa-f]{2})+)\Z")


def _meaning(sequence: str, delimiters: Delimiters) -> str | None:
    """What stands for the sequence between two escape characters, or None where it is not known."""
    plain = delimiters.letters.get(sequence)
    if plain is None:
        plain = _FORMAT.get(sequence)
    if plain is not None or not sequence:
        return plain
    if sequence[0] == "X":
        return _hexadecimal(sequence)
    return _spacing(sequence)


def _spacing(sequence: str) -> str | None:
    found = _COUNTED.match(sequence)
    if not found:
        return None
    name, digits = found.groups()
    count = abs(int(digits)) if digits.lstrip("+-") else 1
    return {"sp": "\n" * count, "sk": " " * count}.get(name, "")


def _hexadecimal(sequence: str) -> str | None:
    found = _HEX.match(sequence)
    if not found:
        return None
    data = bytes.fromhex(found.group(1))
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
