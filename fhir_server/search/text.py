"""Strings: found by their start, whatever the case and the accents. http://hl7.org/fhir/R4/search.html#string"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

from msgspec import UNSET

# An entry of a btree must stay under 2,704 bytes, and a character takes up to four.
MAX_LENGTH = 500
# Stands between the folded text and the text itself: white space, which no folded text but the blank keeps.
CUT = "\x1f"
# A longer text itself is told by its hash.
_WHOLE = 100
# Letters that carry a stroke or join two, which decomposition leaves whole.
_PLAIN = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h", "ŧ": "t", "ı": "i", "ŋ": "n"}
)
_HUMAN_NAME = ("family", "text"), ("given", "prefix", "suffix")
_ADDRESS = ("city", "district", "state", "postalCode", "country", "text"), ("line",)


def fold(text: str) -> str:
    """Return the text without case, accents and surplus white space: what is indexed and what is looked for."""
    return " ".join(letters(text).split())


def letters(text: str) -> str:
    """Return the text without case and accents."""
    if not text.isascii():
        parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        text = "".join([c for c in parts if not unicodedata.combining(c)]).translate(_PLAIN)
    return text.lower()


def after(prefix: str) -> str | None:
    """Return the least string, by code point, that is greater than all that start with `prefix`; None if none is."""
    for at in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[at]) + 1
        if code <= 0x10FFFF:
            # The code points between are surrogates, which UTF-8 cannot hold.
            return prefix[:at] + chr(0xE000 if 0xD800 <= code <= 0xDFFF else code)
    return None


def _plain(value: str) -> list[str]:
    return [value]


def _complex(single: Iterable[str], several: Iterable[str]) -> Callable[[Any], list[str]]:
    """Return what lists the strings of a data type: those of its elements that are there."""
    names, lists = tuple(single), tuple(several)

    def strings(value: Any) -> list[str]:
        found = [text for name in names if (text := getattr(value, name)) is not UNSET]
        for name in lists:
            if (texts := getattr(value, name)) is not UNSET:
                found += [text for text in texts if text is not None]
        return found

    return strings


# By FHIR type: the strings of a value.
STRINGS: dict[str, Callable[[Any], list[str]]] = {
    "string": _plain,
    "markdown": _plain,
    "HumanName": _complex(*_HUMAN_NAME),
    "Address": _complex(*_ADDRESS),
}


def entries(strings: Iterable[str]) -> list[str]:
    """Return the strings as they stand in the index, none empty."""
    return [found for text in strings if (found := entry(text))]


def entry(text: str) -> str:
    """Return a text as it stands in the index: folded and cut to MAX_LENGTH; behind CUT itself, where it differs."""
    folded = fold(text[: 4 * MAX_LENGTH])[:MAX_LENGTH]
    if folded == text or not folded:
        return folded
    return f"{folded}{CUT}{text if len(text) <= _WHOLE else blake2b(text.encode(), digest_size=16).hexdigest()}"
