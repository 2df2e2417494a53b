"""Units of measure in base units. https://ucum.org/ucum"""

from __future__ import annotations

from decimal import Decimal

import pytest

from conformance.ucum import canonical


@pytest.mark.parametrize(
    ("one", "other", "times"),
    [
        ("g", "mg", "1000"),
        ("L", "mL", "1000"),
        ("L", "cm3", "1000"),
        ("g/dL", "g/L", "10"),
        ("mmol/L", "umol/mL", "1"),
        ("10*3/uL", "10*9/L", "1"),
        ("/min", "/h", "60"),
        ("{beats}/min", "/min", "1"),
        ("mm[Hg]", "Pa", "133.322"),
        ("kg/m2", "g/cm2", "0.1"),
        ("[lb_av]", "kg", "0.45359237"),
        ("mL/min/{1.73_m2}", "mL/min", "1"),
        ("%", "1", "0.01"),
        ("mg/(kg.d)", "mg/kg/d", "1"),
        ("k[IU]/L", "[IU]/mL", "1"),
    ],
)
def test_units_of_a_kind_differ_by_a_factor(one: str, other: str, times: str) -> None:
    first, second = canonical(one), canonical(other)
    assert first is not None
    assert second is not None
    assert first.dimension == second.dimension
    assert abs(first.factor / second.factor - Decimal(times)) < Decimal("1e-20")


@pytest.mark.parametrize("pair", [("g", "L"), ("mol/L", "/L"), ("[IU]/L", "mol/L"), ("m", "m2"), ("J", "N")])
def test_units_of_different_kinds_are_not_compared(pair: tuple[str, str]) -> None:
    one, other = map(canonical, pair)
    assert one is not None
    assert other is not None
    assert one.dimension != other.dimension


@pytest.mark.parametrize(
    "code", ["", "tablet", "g//L", "g.", "(g", "g)", "0", "kmin", "g g", "((((", "mCel", "x" * 999]
)
def test_what_is_no_known_unit_has_no_canonical_form(code: str) -> None:
    assert canonical(code) is None


def test_temperatures_are_of_one_kind_whatever_their_scale() -> None:
    assert {unit.dimension for unit in map(canonical, ("K", "Cel", "[degF]", "mK")) if unit} == {"K1"}
