"""Criteria of FHIRPath as functions of one item that answer True, False or None (empty), its three-valued logic.

http://hl7.org/fhirpath/N1/#boolean-logic
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from conformance.fhirpath_grammar import Binary, Call, Expression, Literal, TypeTest, Unsupported
from conformance.references import target_type

Values: TypeAlias = Callable[[Any], list[Any]]
Test: TypeAlias = Callable[[Any], bool | None]
# Gives the values of a path, as a function of the item, and the FHIR types they may have.
Asker: TypeAlias = Callable[[Expression], tuple[Values, frozenset[str]]]


def criterion(tree: Expression, ask: Asker) -> Test:
    """Return the test that a criterion stands for. Raises Unsupported."""
    match tree:
        case Binary("and" | "or" as operator, left, right):
            return _joined(operator == "and", criterion(left, ask), criterion(right, ask))
        case Binary("=" | "!=" as operator, left, Literal(value)) | Binary(
            "=" | "!=" as operator, Literal(value), left
        ):
            return _compared(ask(left)[0], value, operator == "=")
        case TypeTest(Call(target, "resolve", ()), "is", name):
            return _points_at(ask(target), name)
        case TypeTest(target, "is", name):
            return _is(ask(target), name)
        case Literal(bool() as constant):
            return lambda item: constant
        case Call(target, "exists" | "empty" as function, ()):
            return _exists(ask(target)[0], function == "exists")
        case Call(target, "exists", (inner,)):
            return _exists(ask(Call(target, "where", (inner,)))[0], True)
        case Call(target, "not", ()):
            return _negated(criterion(target, ask))
        case Call(_, function, _) if function not in ("where", "first", "as", "ofType", "extension"):
            raise Unsupported(f"{function}() is not compiled here")
        case Binary(operator, _, _) if operator != "|":
            raise Unsupported(f"{operator!r} is compiled only between a path and a constant")
        case Literal(value):
            raise Unsupported(f"{value!r} stands where a path is expected")
    return _true(ask(tree)[0])


def _joined(both: bool, left: Test, right: Test) -> Test:
    """Return `and` (both) or `or`: the deciding value wins over an empty one."""
    decides = not both

    def test(item: Any) -> bool | None:
        first = left(item)
        if first is decides:
            return first
        second = right(item)
        return second if second is decides or first is not None else None

    return test


def _compared(values: Values, constant: str | float | bool, equal: bool) -> Test:
    def test(item: Any) -> bool | None:
        found = values(item)
        if not found:
            return None
        # In Python True equals 1.0, in FHIRPath it does not.
        same = len(found) == 1 and found[0] == constant and isinstance(found[0], bool) == isinstance(constant, bool)
        return same is equal

    return test


def _exists(values: Values, wanted: bool) -> Test:
    return lambda item: bool(values(item)) is wanted


def _negated(inner: Test) -> Test:
    def test(item: Any) -> bool | None:
        found = inner(item)
        return None if found is None else not found

    return test


def _points_at(asked: tuple[Values, frozenset[str]], name: str) -> Test:
    values, _ = asked
    return lambda item: any(target_type(value) == name for value in values(item))


def _is(asked: tuple[Values, frozenset[str]], name: str) -> Test:
    values, types = asked
    if types != frozenset((name,)) and name in types:
        raise Unsupported(f"is {name} of a choice; write ofType({name}).exists()")
    return lambda item: bool(values(item)) if name in types else False


def _true(values: Values) -> Test:
    """Return the test of a path alone: its one boolean, or whether it holds one value of another type."""

    def test(item: Any) -> bool | None:
        found = values(item)
        if not found:
            return None
        return found[0] if isinstance(found[0], bool) else True

    return test
