"""A parameter's value taken apart: alternatives, parts, escapes and prefixes. http://hl7.org/fhir/R4/search.html#escaping"""

from __future__ import annotations

import re
from typing import cast, get_args

from fhir_server.search.tree import Prefix

PREFIXES: frozenset[str] = frozenset(get_args(Prefix))
_ESCAPED = re.compile(r"\\([,$|\\])")


def split(text: str, sign: str) -> list[str]:
    """Return the parts between signs that no backslash precedes, their escapes still in them."""
    if sign not in text or "\\" not in text:
        return text.split(sign)
    parts, start, at = [], 0, 0
    while at < len(text):
        if text[at] == "\\":
            at += 2
        elif text[at] == sign:
            parts.append(text[start:at])
            start = at = at + 1
        else:
            at += 1
    return [*parts, text[start:]]


def unescape(text: str) -> str:
    """Return the text with `\\,` `\\$` `\\|` `\\\\` as what they stand for; any other backslash is itself."""
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def prefixed(text: str) -> tuple[Prefix, str]:
    """Return the prefix of an ordered value, `eq` where there is none, and the rest."""
    if text[:2] in PREFIXES:
        return cast(Prefix, text[:2]), text[2:]
    return "eq", text
