"""Numbers and quantities as ranges of doubles. http://hl7.org/fhir/R4/search.html#number

A resource's number is a point, as wide as it is exact: R4 gives the implicit precision to the number searched for.
Doubles hold 15 significant digits of a decimal for certain; two numbers that differ beyond those compare as equal, and
rounding never changes an order. Where a digit more matters, the body's own text is compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from math import inf
from typing import Any

from msgspec import UNSET

Span = tuple[float, float]

_SEARCHED = re.compile(r"[+-]?\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,3})?\Z", re.ASCII)
_TENTH = Decimal("0.1")


def parse(text: str) -> tuple[Decimal, Decimal]:
    """Return the number and half a unit of its last digit: 100 is 99.5 to 100.5, 1.50 is 1.495 to 1.505.

    Raises ValueError.
    """
    if not _SEARCHED.match(text):
        raise ValueError("not a number such as 100, 5.40 or 1e3")
    number = Decimal(text)
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return number, Decimal((0, (5,), exponent - 1))


def approximate(number: Decimal, half: Decimal) -> tuple[Decimal, Decimal]:
    """Return the range for `ap`: a tenth of the number on either side, as R4 recommends, or its precision if wider."""
    margin = max(abs(number) * _TENTH, half)
    return number - margin, number + margin


def _point(value: float) -> list[Span]:
    return [(float(value), float(value))]


def _quantity(value: Any) -> list[Span]:
    """Return the span of a Quantity or Money: open on one side where a comparator says so."""
    if value.value is UNSET:
        return []
    comparator = getattr(value, "comparator", UNSET)
    if comparator in ("<", "<="):
        return [(-inf, float(value.value))]
    if comparator in (">", ">="):
        return [(float(value.value), inf)]
    return _point(value.value)


def _range(value: Any) -> list[Span]:
    low = -inf if value.low is UNSET or value.low.value is UNSET else float(value.low.value)
    high = inf if value.high is UNSET or value.high.value is UNSET else float(value.high.value)
    return [] if (low, high) == (-inf, inf) else [(low, high)]


def _none(value: Any) -> list[Span]:
    return []


# By FHIR type: the spans of a value. The samples of SampledData are text, out of an index's reach.
SPANS: dict[str, Callable[[Any], list[Span]]] = {
    "decimal": _point,
    "integer": _point,
    "positiveInt": _point,
    "unsignedInt": _point,
    "Quantity": _quantity,
    "Age": _quantity,
    "Count": _quantity,
    "Distance": _quantity,
    "Duration": _quantity,
    "Money": _quantity,
    "Range": _range,
    "SampledData": _none,
}
