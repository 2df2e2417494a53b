"""JSON read so that nothing is lost: keys given twice stay, numbers keep their text. https://www.rfc-editor.org/rfc/rfc8259

Only the slow walk reads this way; it is for finding problems, not for speed.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from conformance.issue import Issue, error

# Whole pairs and other escapes are eaten first, so that what is left in the group is a half pair.
_ESCAPES = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


class Number(str):
    """The text of a JSON number."""

    __slots__ = ()


class Object(list[tuple[str, Any]]):
    """The members of a JSON object in their order, doubled keys included."""

    __slots__ = ()


class Unreadable(Exception):
    """The bytes are not JSON; `issue` says where and why."""

    def __init__(self, issue: Issue) -> None:
        self.issue = issue
        super().__init__(issue.diagnostics)


def read(data: bytes) -> Any:
    """Return objects as Object, arrays as list, numbers as Number. Raises Unreadable."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise _unreadable(f"The text is not UTF-8: byte {fault.start} is wrong ({fault.reason})") from None
    _refuse_half_pairs(text)
    try:
        return json.loads(
            text, object_pairs_hook=Object, parse_int=Number, parse_float=Number, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as fault:
        where = f"at line {fault.lineno}, column {fault.colno}"
        raise _unreadable(f"The text is not JSON: {_words(fault)} {where}") from None
    except RecursionError:
        raise _unreadable("The text is nested too deep", "too-long") from None


def _words(fault: json.JSONDecodeError) -> str:
    if fault.msg.startswith("Unexpected UTF-8 BOM"):
        return "a byte order mark stands before it"
    return fault.msg[:1].lower() + fault.msg[1:]


def _refuse_half_pairs(text: str) -> None:
    if "\\u" not in text:
        return
    for match in _ESCAPES.finditer(text):
        if match[1]:
            line, column = text.count("\n", 0, match.start()) + 1, match.start() - text.rfind("\n", 0, match.start())
            raise _unreadable(
                f"The text is not Unicode: {match[0]} at line {line}, column {column} is one half of a surrogate pair"
            )


def _refuse_constant(name: str) -> NoReturn:
    raise _unreadable(f"The text is not JSON: {name} is not a JSON number")


def _unreadable(problem: str, code: str = "structure") -> Unreadable:
    return Unreadable(error(code, f"{problem}."))
