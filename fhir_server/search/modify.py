"""What modifiers make of a parameter's values. http://hl7.org/fhir/R4/search.html#modifiers"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from conformance.r4.types import TYPE_CODES
from conformance.search_params import SearchParam
from fhir_server.search import terminology, text, token
from fhir_server.search.hashing import param_id
from fhir_server.search.kinds import COLUMNS, long_param_id, text_param_id
from fhir_server.search.match import Asked, folded, leaf, system_and_code
from fhir_server.search.terms import split, unescape
from fhir_server.search.tree import (
    Everything,
    Not,
    Present,
    StringContains,
    StringIs,
    StringStarts,
    Tree,
    any_of,
)


def question(asked: list[Asked]) -> Tree:
    """Return the tree of a parameter's alternatives, all of one modifier. Raises ValueError saying what is wrong."""
    modifier = asked[0].modifier
    if modifier == "missing":
        return _missing(asked)
    if modifier == "not-in":
        return Not(any_of([terminology.in_value_set(one) for one in asked]))
    if modifier == "not":
        return Not(any_of([leaf(one) for one in asked]))
    make = _MADE.get(asked[0].param.kind, {}).get(modifier, leaf)
    return any_of([make(one) for one in asked])


def modifiers(param: SearchParam) -> frozenset[str]:
    """Return the modifiers that a parameter takes: a reference takes the types that it may point at, too."""
    if param.code in COLUMNS:
        return frozenset(("missing", "not") if param.code == "_id" else ("missing",))
    found = {"missing", *_MADE.get(param.kind, ())}
    if param.kind == "token":
        found.add("not")
        found -= set() if "Identifier" in param.types else {"of-type"}
        found -= set() if param.types & token.TEXTS.keys() else {"text"}
        found |= {"not-in"}
        found -= set() if param.types & terminology.CODED else {"in", "not-in", "above", "below"}
    if param.kind == "reference":
        found |= frozenset(TYPE_CODES).intersection(param.targets)
    return frozenset(found)


def _missing(asked: list[Asked]) -> Tree:
    first = asked[0]
    if len(asked) != 1 or first.text not in ("true", "false"):
        raise ValueError("true or false is expected")
    found = _present(first)
    return Not(found) if first.text == "true" else found


def _present(asked: Asked) -> Tree:
    """Return that there is a value: for the kinds of the narrow tables, one that says something."""
    base, code = asked.param.base, asked.param.code
    if code in COLUMNS:
        return Everything()
    match asked.param.kind:
        case "date":
            return Present("idx_date", (param_id(base, code), long_param_id(base, code)))
        case "string":
            return Present("idx_string", (param_id(base, code),))
        case "number" | "quantity":
            return Present("idx_number", (param_id(base, code),))
    return asked.keys([token.present(asked.place.hasher)])


# ---- string and uri ---------------------------------------------------------------------------------------------


def _exact(asked: Asked) -> Tree:
    value = text.entry(unescape(asked.text))
    if not value:
        raise ValueError("no text to look for")
    return StringIs(param_id(asked.param.base, asked.param.code), value)


def _contains(asked: Asked) -> Tree:
    return StringContains(param_id(asked.param.base, asked.param.code), folded(asked))


def _below(asked: Asked) -> Tree:
    """Return that a URL starts with this one; a URN has nothing below it."""
    value = unescape(asked.text)
    if _path(value) is None:
        return leaf(asked)
    if len(value) > text.MAX_LENGTH:
        raise ValueError(f"a URL longer than {text.MAX_LENGTH} characters")
    number = param_id(asked.param.base, asked.param.code)
    return (
        StringStarts(number, value) if value.endswith("/") else any_of([leaf(asked), StringStarts(number, f"{value}/")])
    )


def _above(asked: Asked) -> Tree:
    """Return that a URL is this one, or leads to it by segments of its path, with a final slash or without."""
    value = unescape(asked.text)
    path = _path(value)
    if path is None:
        return leaf(asked)
    root = value[: len(value) - len(path)] if path else value
    steps = path.strip("/").split("/")
    urls = [value, root, f"{root}/"]
    for count in range(1, len(steps) + 1):
        below = f"{root}/{'/'.join(steps[:count])}"
        urls += [below, f"{below}/"]
    return asked.keys([asked.place.hasher.uri_hash(url) for url in dict.fromkeys(urls)])


def _path(value: str) -> str | None:
    """Return the path of a URL with all that follows; None for what is no URL."""
    parts = urlsplit(value)
    return value.split(parts.netloc, 1)[1] if parts.netloc else None


# ---- token and reference ----------------------------------------------------------------------------------------


def _text(asked: Asked) -> Tree:
    branches = [branch for branch in asked.param.branches if branch.type in token.TEXTS]
    value = folded(asked)
    return any_of([StringStarts(text_param_id(asked.param.base, branch), value) for branch in branches])


def _of_type(asked: Asked) -> Tree:
    parts = [unescape(part) for part in split(asked.text, "|")]
    if len(parts) != 3 or not all(parts):
        raise ValueError("system|code|value is expected: the system and code of the identifier's type, and its value")
    return asked.keys([token.typed(asked.place.hasher, *parts)], ":of-type")


def _identifier(asked: Asked) -> Tree:
    found = token.searched(asked.place.hasher, ("Identifier",), *system_and_code(asked.text))
    return asked.keys(found, ":identifier")


# By kind of parameter and modifier. `missing`, `not` and `not-in` are of the alternatives together.
_MADE: dict[str, dict[str, Callable[[Asked], Tree]]] = {
    "string": {"exact": _exact, "contains": _contains},
    "uri": {"above": _above, "below": _below},
    "token": {
        "text": _text,
        "of-type": _of_type,
        "in": terminology.in_value_set,
        "above": terminology.above,
        "below": terminology.below,
    },
    "reference": {"identifier": _identifier},
}
