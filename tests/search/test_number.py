"""Numbers with the precision they are searched with. http://hl7.org/fhir/R4/search.html#number"""

from __future__ import annotations

from decimal import Decimal
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.search.number import approximate, parse
from tests.search.world import finds, index

RISK = {"resourceType": "RiskAssessment", "status": "final", "subject": {"display": "x"}}


def risk(**prediction: Any) -> dict[str, Any]:
    """Return a RiskAssessment with one prediction."""
    return {**RISK, "prediction": [prediction]}


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("100", "99.5", "100.5"),
        ("100.00", "99.995", "100.005"),
        ("0.5", "0.45", "0.55"),
        ("-3", "-3.5", "-2.5"),
        ("5.40", "5.395", "5.405"),
        ("1e3", "500", "1500"),
        ("1.0e3", "950", "1050"),
        ("1e-2", "0.005", "0.015"),
    ],
)
def test_a_number_stands_for_the_range_that_rounds_to_it(text: str, low: str, high: str) -> None:
    number, half = parse(text)
    assert (number - half, number + half) == (Decimal(low), Decimal(high))


@pytest.mark.parametrize("text", ["", "x", "1,5", "1.", ".5", "0x1", "nan", "inf", "1e", "1 ", "１", "1e9999", "--1"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-1000, max_value=1000))
def test_a_number_lies_within_its_own_range_and_its_approximation(number: Decimal) -> None:
    exact, half = parse(f"{number:f}")
    low, high = approximate(exact, half)
    assert low <= exact - half < exact < exact + half <= high


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("0.5", True), ("0.50", True), ("0.500", True), ("0.51", False), ("gt0.49", True), ("gt0.5", False),
        ("ge0.5", True), ("lt0.5", False), ("le0.5", True), ("ne0.5", False), ("ne0.6", True), ("sa0.4", True),
        ("eb0.6", True), ("ap0.52", True), ("ap0.7", False), ("0.3,0.5", True),
    ],
)  # fmt: skip
def test_a_decimal_of_a_resource_is_compared_as_the_number_it_is(value: str, found: bool) -> None:
    assert finds(risk(probabilityDecimal=0.5), ("probability", value)) is found


def test_a_range_of_a_resource_is_open_where_it_has_no_bound() -> None:
    assert finds(risk(probabilityRange={"low": {"value": 0.2}}), ("probability", "gt0.9"))
    assert not finds(risk(probabilityRange={"low": {"value": 0.2}}), ("probability", "0.9"))
    assert finds(risk(probabilityRange={"low": {"value": 0.2}, "high": {"value": 0.3}}), ("probability", "eb0.4"))


def test_quantities_are_indexed_for_the_searches_to_come() -> None:
    observation: dict[str, Any] = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
    measured = {**observation, "valueQuantity": {"value": 5.4, "unit": "mg"}}
    assert {(lo, hi) for _, lo, hi in index(measured).numbers} == {(5.4, 5.4)}
    below = {**observation, "valueQuantity": {"value": 5.4, "comparator": "<"}}
    assert {(lo, hi) for _, lo, hi in index(below).numbers} == {(-inf, 5.4)}
    above = {**observation, "valueQuantity": {"value": 5.4, "comparator": ">="}}
    assert {(lo, hi) for _, lo, hi in index(above).numbers} == {(5.4, inf)}
    assert index({**observation, "valueQuantity": {"unit": "mg"}}).numbers == []
