"""Criteria of FHIRPath as SQL/JSON path predicates, for questions that a database asks of a resource's own JSON.

https://www.postgresql.org/docs/18/functions-json.html#FUNCTIONS-SQLJSON-PATH
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from conformance.fhirpath_grammar import Binary, Call, Expression, Literal, TypeTest

# Gives the SQL/JSON paths of an expression's values, None among them for one that has none.
Asker = Callable[[Expression], Sequence[str | None]]


def member(path: str | None, name: str) -> str | None:
    """Return the path into a member. In the lax mode a list on the way stands for its items, as in FHIRPath."""
    return None if path is None else f'{path}."{name}"'


def predicate(tree: Expression, ask: Asker) -> str | None:
    """Return the predicate that a criterion stands for; None for one that SQL/JSON has no words for."""
    match tree:
        case Binary("and" | "or" as operator, left, right):
            both = predicate(left, ask), predicate(right, ask)
            return None if None in both else f"({both[0]} {'&&' if operator == 'and' else '||'} {both[1]})"
        case Binary("=" | "!=" as operator, left, Literal(value)) | Binary(
            "=" | "!=" as operator, Literal(value), left
        ):
            return _any(ask(left), _equal if operator == "=" else _differs, value)
        case TypeTest(Call(target, "resolve", ()), "is", name):
            return _any(ask(target), _points_at, name)
        case Call(target, "exists" | "empty" as function, ()):
            found = _any(ask(target), _exists, "")
            return found if function == "exists" or found is None else f"(!{found})"
        case Call(target, "exists", (inner,)):
            return _any(ask(Call(target, "where", (inner,))), _exists, "")
        case Call(target, "not", ()):
            inside = predicate(target, ask)
            return None if inside is None else f"(!{inside})"
        case Literal() | TypeTest() | Binary():
            return None
    # A path alone is its boolean, or says that there is a value.
    return _any(ask(tree), _differs, False)


def _any(paths: Sequence[str | None], say: Callable[[str, str], str], value: str | float | bool) -> str | None:
    found = [path for path in paths if path is not None]
    if len(found) != len(paths) or not found:
        return None
    written = value if say is _points_at else _constant(value)
    return f"({' || '.join(say(path, str(written)) for path in found)})"


def _constant(value: str | float | bool) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value)


def _exists(path: str, _: str) -> str:
    return f"exists({path})"


def _equal(path: str, constant: str) -> str:
    return f"{path} == {constant}"


def _differs(path: str, constant: str) -> str:
    """Values of two types are not comparable here: neither equal nor unequal."""
    return f"(exists({path}) && (({path} == {constant}) is unknown || !({path} == {constant})))"


def _points_at(path: str, name: str) -> str:
    text = f'like_regex "(^|/){name}/[^/]+(/_history/[^/]+)?$"'
    return f'{path}."reference" {text} || {path} {text} || {path}."type" == "{name}"'
