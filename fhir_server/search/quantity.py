"""Quantities by unit: what a unit is called in the index, and a value in it. http://hl7.org/fhir/R4/search.html#quantity

A value in a UCUM unit that is known stands under its base units, so that any unit of the same kind finds it; any other
stands under its own system and code. Every value also stands under its code and under its unit's text, as given.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from math import isinf
from typing import Any

from msgspec import UNSET

from conformance import ucum
from fhir_server.search.number import Span

_CURRENCY = "urn:iso:std:iso:4217"


def measure(system: str, code: str) -> tuple[str, ucum.Unit | None]:
    """Return the name of what a coded unit measures, and how its values are brought to that, if at all."""
    unit = ucum.canonical(code) if system == ucum.SYSTEM else None
    return (f"={unit.dimension}", unit) if unit else (f"{system}|{code}", None)


def scaled(value: Decimal, unit: ucum.Unit | None) -> float:
    """Return a value in base units; resources and searches are rounded alike, so that no order is turned round."""
    return float(value if unit is None else value * unit.factor + unit.offset)


def named(value: Any, spans: list[Span]) -> Iterator[tuple[str, float, float]]:
    """Yield the spans of a Quantity, Money or Range under each name that its unit has."""
    if (low := getattr(value, "low", UNSET)) is not UNSET or (low := getattr(value, "high", UNSET)) is not UNSET:
        value = low
    currency = getattr(value, "currency", UNSET)
    code = currency if currency is not UNSET else getattr(value, "code", UNSET)
    text = getattr(value, "unit", UNSET)
    system = _CURRENCY if currency is not UNSET else getattr(value, "system", UNSET)
    for lo, hi in spans:
        if code is not UNSET and system is not UNSET:
            name, unit = measure(system, code)
            yield name, _scaled(lo, unit), _scaled(hi, unit)
        for given in {code, text} - {UNSET}:
            yield f"||{given}", lo, hi


def _scaled(value: float, unit: ucum.Unit | None) -> float:
    return value if unit is None or isinf(value) else scaled(Decimal(repr(value)), unit)
