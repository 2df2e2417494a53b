"""Full text: the words of a resource as an index entry, and what `_text` and `_content` ask for.

http://hl7.org/fhir/R4/search.html#content

Words are folded as strings are (no case, no accents) and of no language: no stems, no words left out. A script without
spaces gives a word for each character, found side by side. Each word carries the tenant and the type, so that one
tenant's leads to no row of another's, and whether it is of the narrative: `_text` asks for those, `_content` for both.
Were that a weight, PostgreSQL could not tell how common they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from html import unescape as unescape_html
from typing import Any

import msgspec
from msgspec import UNSET

from conformance.r4.facts import groups, is_primitive, spelled
from conformance.r4.types import TYPE_CODES
from fhir_server.search.text import letters

# Parameters of full text, and whether they ask for the narrative alone.
FULL_TEXT = {"_content": False, "_text": True}
# Types without a narrative.
PLAIN = frozenset(("Binary", "Bundle", "Parameters"))
# Between tenant and type, and a word: of which section it is.
_CONTENT, _NARRATIVE = ".", "~"
# A longer word is cut; of a longer text the beginning is read.
MAX_WORD = 60
_MAX_TEXT = 1_000_000
# A tsvector knows no place beyond this.
_LAST_PLACE = 16383
_TEXTS = ("string", "markdown")
# Elements that are strings and yet nothing that people would search for.
_SILENT = frozenset(("expression", "id", "linkId", "path", "representation", "version", "versionId"))
_MEMBER = re.compile(
    r'"(\w+)":(?:"([^"\\]*(?:\\.[^"\\]*)*)"|\[((?:(?:null|"[^"\\]*(?:\\.[^"\\]*)*"),?)+)\])',
)
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)")
# What names something for machines.
_URLS = frozenset(("http", "urn:"))
_UUID = 36
# Elements of a narrative that do not end a word.
_INLINE = re.compile(r"</?(?:a|abbr|b|big|em|i|small|span|strong|sub|sup|tt|u)\b[^>]*>")
_TAG = re.compile(r"<[^>]*>")
# Between two strings, so that no phrase reaches from one into the next.
_GAP = "\x1f"
_ASCII = re.compile(r"[a-z0-9]+|\x1f")
_WORD = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
    "|[^\\W_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]+|\x1f"
)


def full_text(resource_type: str) -> list[str]:
    """Return the parameters of full text that a type has."""
    return [code for code, narrative in FULL_TEXT.items() if not (narrative and resource_type in PLAIN)]


@cache
def _said() -> frozenset[str]:
    """Return the JSON names under which R4 has texts rather than codes, addresses and dates."""
    balance: dict[str, int] = {}
    for group in groups().values():
        for key, element in group.elements.items():
            for name, kind in spelled(key, element):
                if kind and is_primitive(kind):
                    balance[name] = balance.get(name, 0) + (1 if kind in _TEXTS else -1)
    return frozenset(name for name, more in balance.items() if more >= 0) - _SILENT


def words(text: str) -> list[str]:
    """Return the words of a text in their order; a gap between two strings stands for itself."""
    text = text[:_MAX_TEXT]
    if text.isascii():
        return _ASCII.findall(text.lower())
    return _WORD.findall(letters(text))


def vector(tenant_id: int, resource_type: str, resource: Any, most: int) -> str:
    """Return the words of a resource with their places, as PostgreSQL reads a tsvector; "" for none.

    At most `most` different words. https://www.postgresql.org/docs/18/datatype-textsearch.html
    """
    own = _placed(_NARRATIVE, _narrative(resource), most)
    rest = _placed(_CONTENT, _strings(resource), most - len(own))
    start = _prefix(tenant_id, resource_type)
    return " ".join([f"{start}{word}:{found}" for word, found in (*own.items(), *rest.items())])


def _placed(section: str, text: str, most: int) -> dict[str, str]:
    """Return the places of each word, led by its section."""
    if not text:
        return {}
    places: dict[str, str] = {}
    for at, word in enumerate(words(text), 1):
        if word in places:
            if at < _LAST_PLACE:
                places[word] += f",{at}"
        elif word != _GAP and len(places) < most:
            places[word] = f"{min(at, _LAST_PLACE)}"
    return {f"{section}{word[:MAX_WORD]}": found for word, found in places.items()}


def _prefix(tenant_id: int, resource_type: str) -> str:
    return f"{tenant_id:x}.{TYPE_CODES[resource_type]:x}"


def _narrative(resource: Any) -> str:
    narrative = getattr(resource, "text", UNSET)
    div = getattr(narrative, "div", UNSET)
    if div is UNSET:
        return ""
    return str(unescape_html(_TAG.sub(" ", _INLINE.sub("", div))))


def _strings(resource: Any) -> str:
    """Return all that a resource says to people outside of its narrative, as one text.

    Read from its JSON by one expression, which is many times as fast as a walk through its elements.
    """
    said = _said()
    found: list[str] = []
    for name, text, several in _MEMBER.findall(msgspec.json.encode(resource).decode()):
        if name in said and text[:4] not in _URLS and not (len(text) == _UUID and text[8] == "-"):
            found.append(text or several)
    joined = f" {_GAP} ".join(found)
    return _ESCAPE.sub(" ", joined) if "\\" in joined else joined


# ---- what is asked for ------------------------------------------------------------------------------------------

_TOKEN = re.compile(r'\s*("[^"]*"|\(|\)|-(?=[^\s-])|[^\s()"]+)')
_MAX_TOKENS = 100
_MAX_DEPTH = 20


def query(tenant_id: int, resource_type: str, text: str, narrative: bool) -> str:
    """Return a tsquery for words, "phrases", starts of words*, `and`, `or`, `not` or `-`, and brackets.

    Words side by side must all be there. Raises ValueError, saying what is wrong.
    """
    prefix = _prefix(tenant_id, resource_type)
    sections = (_NARRATIVE,) if narrative else (_CONTENT, _NARRATIVE)
    asked = _Asked(text, [f"{prefix}{section}" for section in sections])
    sql, bounded = asked.either(0)
    asked.end()
    if not bounded:
        raise ValueError("a word that must be there is expected: all that lack a word cannot be found by it")
    return sql


# A piece of the tsquery, and whether what it finds must hold some word.
_Piece = tuple[str, bool]


class _Asked:
    """Recursive descent: `or` is looser than `and`, that is looser than `not`."""

    def __init__(self, text: str, prefixes: list[str]) -> None:
        self._tokens = _TOKEN.findall(text)
        if text.count('"') % 2:
            raise ValueError("a quotation mark is missing")
        if len(self._tokens) > _MAX_TOKENS:
            raise ValueError(f"more than {_MAX_TOKENS} words")
        self._prefixes = prefixes
        self._at = 0

    def either(self, depth: int) -> _Piece:
        if depth > _MAX_DEPTH:
            raise ValueError(f"brackets more than {_MAX_DEPTH} deep")
        pieces = [self._both(depth)]
        while self._take("or", "|"):
            pieces.append(self._both(depth))
        return _joined(" | ", pieces, all)

    def _both(self, depth: int) -> _Piece:
        pieces = [self._not(depth)]
        while self._next() not in ("", ")", "or", "|"):
            self._take("and", "&")
            pieces.append(self._not(depth))
        return _joined(" & ", pieces, any)

    def _not(self, depth: int) -> _Piece:
        if self._take("not", "-"):
            return f"!{self._not(depth + 1)[0]}", False
        if self._take("("):
            found = self.either(depth + 1)
            if not self._take(")"):
                raise ValueError("a closing bracket is missing")
            return found
        return self._words(), True

    def _words(self) -> str:
        token = self._next()
        if token in ("", ")", "and", "&", "or", "|"):
            raise ValueError(f"a word is expected before {token!r}" if token else "a word is expected at the end")
        self._at += 1
        found = [word for word in words(token) if word != _GAP]
        if not found:
            raise ValueError(f"{token[:50]!r} holds no word")
        ends = [""] * (len(found) - 1) + [":*" if token.endswith("*") else ""]
        phrases = [
            " <-> ".join(f"'{prefix}{word[:MAX_WORD]}'{end}" for word, end in zip(found, ends, strict=True))
            for prefix in self._prefixes
        ]
        return f"({' | '.join(phrases)})" if len(phrases) > 1 or len(found) > 1 else phrases[0]

    def _next(self) -> str:
        token = self._tokens[self._at] if self._at < len(self._tokens) else ""
        return token.lower() if token.lower() in ("and", "or", "not") else token

    def _take(self, *tokens: str) -> bool:
        if self._next() not in tokens:
            return False
        self._at += 1
        return True

    def end(self) -> None:
        if self._next():
            raise ValueError("a bracket is closed that was not opened")


def _joined(operator: str, pieces: list[_Piece], bound: Callable[[Iterator[bool]], bool]) -> _Piece:
    if len(pieces) == 1:
        return pieces[0]
    return f"({operator.join(sql for sql, _ in pieces)})", bound(bounded for _, bounded in pieces)
