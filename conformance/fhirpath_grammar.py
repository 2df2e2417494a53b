"""FHIRPath text to a syntax tree: the part of the language that search parameters are written in.

http://hl7.org/fhirpath/N1/grammar.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import msgspec

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<name>\$this|[A-Za-z_][A-Za-z0-9_]*|`[^`]+`)
      | (?P<string>'(?:[^'\\]|\\.)*')
      | (?P<number>\d+(?:\.\d+)?)
      | (?P<sign>!=|[.,()\[\]|=])
    )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
_MAX_LENGTH = 10_000
_MAX_DEPTH = 50


class Unsupported(ValueError):
    """The expression is not FHIRPath, or uses what search parameters are not compiled from; the message says where."""


class Literal(msgspec.Struct, frozen=True):
    """A constant."""

    value: str | float | bool


class Name(msgspec.Struct, frozen=True):
    """An element, or a type at the start of a path; `target` is None at the start."""

    target: Expression | None
    name: str


class This(msgspec.Struct, frozen=True):
    """The item that a criterion is asked about: `$this`, or nothing written at all."""


class Call(msgspec.Struct, frozen=True):
    """A function of a target; This where none is written."""

    target: Expression
    function: str
    arguments: tuple[Expression, ...]


class Index(msgspec.Struct, frozen=True):
    """One item of a collection, counted from 0."""

    target: Expression
    number: int


class TypeTest(msgspec.Struct, frozen=True):
    """`is` or `as` with a type."""

    target: Expression
    operator: str
    type: str


class Binary(msgspec.Struct, frozen=True):
    """An operator between two expressions: `|`, `=`, `!=`, `and`, `or`."""

    operator: str
    left: Expression
    right: Expression


Expression: TypeAlias = Literal | Name | This | Call | Index | TypeTest | Binary


def parse(text: str) -> Expression:
    """Return the syntax tree. Raises Unsupported."""
    if len(text) > _MAX_LENGTH:
        raise Unsupported(f"an expression longer than {_MAX_LENGTH} characters")
    parser = _Parser(text)
    tree = parser.either()
    parser.end()
    return tree


class _Parser:
    """Recursive descent, one method for each level of precedence, loosest first."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0

    def either(self) -> Expression:
        return self._left_to_right(("or",), self._both)

    def _both(self) -> Expression:
        return self._left_to_right(("and",), self._equal)

    def _equal(self) -> Expression:
        return self._left_to_right(("=", "!="), self._union)

    def _union(self) -> Expression:
        return self._left_to_right(("|",), self._typed)

    def _left_to_right(self, operators: tuple[str, ...], part: Callable[[], Expression]) -> Expression:
        tree = part()
        while (operator := self._next()) in operators:
            self._at += 1
            tree = Binary(operator, tree, part())
        return tree

    def _typed(self) -> Expression:
        tree = self._term()
        while (operator := self._next()) in ("is", "as"):
            self._at += 1
            tree = TypeTest(tree, operator, self._type())
        return tree

    def _term(self) -> Expression:
        tree = self._start()
        while True:
            if self._take("."):
                tree = self._member(tree)
            elif self._take("["):
                tree = Index(tree, int(self._word(str.isdigit, "a number")))
                self._expect("]")
            else:
                return tree

    def _start(self) -> Expression:
        if self._take("("):
            tree = self._inner()
            self._expect(")")
            return tree
        if self._take("$this"):
            return This()
        constant = _constant(self._next())
        if constant is None:
            return self._member(None)
        self._at += 1
        return constant

    def _member(self, target: Expression | None) -> Expression:
        name = self._word(_is_name, "a name").strip("`")
        if not self._take("("):
            return Name(target, name)
        arguments: list[Expression] = []
        while not self._take(")"):
            if arguments:
                self._expect(",")
            arguments.append(self._inner())
        return Call(This() if target is None else target, name, tuple(arguments))

    def _inner(self) -> Expression:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise Unsupported(f"brackets deeper than {_MAX_DEPTH}")
        tree = self.either()
        self._depth -= 1
        return tree

    def _type(self) -> str:
        name = self._word(_is_name, "a type").strip("`")
        if name in ("FHIR", "System") and self._take("."):
            name = self._word(_is_name, "a type").strip("`")
        return name

    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, token: str) -> bool:
        if self._next() != token:
            return False
        self._at += 1
        return True

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise Unsupported(f"{token!r} is missing {self._place()}")

    def _word(self, fits: Callable[[str], bool], wanted: str) -> str:
        word = self._next()
        if not fits(word):
            raise Unsupported(f"{wanted} is missing {self._place()}")
        self._at += 1
        return word

    def _place(self) -> str:
        return f"before {self._next()!r}" if self._next() else "at the end"

    def end(self) -> None:
        if self._next():
            raise Unsupported(f"{self._next()!r} is not expected")


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    at, text = 0, text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise Unsupported(f"{text[at : at + 20].strip()!r} is not understood")
        tokens.append(found[0].strip())
        at = found.end()
    return tokens


def _constant(word: str) -> Literal | None:
    if word.startswith("'"):
        return Literal(_ESCAPE.sub(_unescaped, word[1:-1]))
    if word[:1].isdigit():
        return Literal(float(word))
    return Literal(word == "true") if word in ("true", "false") else None


def _is_name(token: str) -> bool:
    return token[:1].isalpha() or token[:1] in ("_", "`")


def _unescaped(found: re.Match[str]) -> str:
    name = found[1]
    return chr(int(name[1:], 16)) if len(name) > 1 else _ESCAPED.get(name, name)
