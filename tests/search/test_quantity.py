"""Quantities by number and unit. http://hl7.org/fhir/R4/search.html#quantity"""

from __future__ import annotations

from typing import Any

import pytest

from fhir_server.errors import Invalid
from tests.search.world import finds, search

UCUM = "http://unitsofmeasure.org"


def observation(value: float, code: str | None = "mg", system: str | None = UCUM, **more: Any) -> dict[str, Any]:
    quantity = {"value": value, "system": system, "code": code, **more}
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "valueQuantity": {name: part for name, part in quantity.items() if part is not None},
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"1|{UCUM}|g", True),
        (f"1.000|{UCUM}|g", True),
        (f"1000|{UCUM}|mg", True),
        (f"1.4|{UCUM}|g", False),
        (f"1000|{UCUM}|g", False),
        (f"1000|{UCUM}|mL", False),
        (f"gt0.9|{UCUM}|g", True),
        (f"gt1|{UCUM}|g", False),
        (f"ge1|{UCUM}|g", True),
        (f"lt1000001|{UCUM}|ug", True),
        (f"ne1|{UCUM}|kg", True),
        (f"ap1.05|{UCUM}|g", True),
        ("1000", True),
        ("1", False),
        ("1000||mg", True),
        ("1||g", False),
        ("1000||milligram", True),
        ("1000|urn:other|mg", False),
    ],
)
def test_a_quantity_is_found_in_any_unit_of_its_kind(value: str, expected: bool) -> None:
    found = observation(1000, unit="milligram")
    assert finds(found, ("value-quantity", value)) is expected
    assert finds(found, ("combo-value-quantity", value)) is expected


def test_a_unit_of_another_system_is_found_as_it_was_given() -> None:
    tablets = observation(2, "TAB", "urn:forms")
    assert finds(tablets, ("value-quantity", "2|urn:forms|TAB"))
    assert not finds(tablets, ("value-quantity", f"2|{UCUM}|TAB"))
    assert finds(observation(2, None, None, unit="tablets"), ("value-quantity", "2||tablets"))


def test_a_comparator_leaves_one_side_open() -> None:
    below = observation(5, "mg", comparator="<")
    assert finds(below, ("value-quantity", f"lt0.001|{UCUM}|g"))
    assert not finds(below, ("value-quantity", f"gt0.005|{UCUM}|g"))


def test_a_temperature_is_found_on_another_scale() -> None:
    assert finds(observation(37, "Cel"), ("value-quantity", f"98.6|{UCUM}|[degF]"))


def test_a_price_is_found_by_its_currency() -> None:
    invoice = {"resourceType": "Invoice", "status": "draft", "totalNet": {"value": 5.5, "currency": "EUR"}}
    assert finds(invoice, ("totalnet", "5.5|urn:iso:std:iso:4217|EUR"))
    assert not finds(invoice, ("totalnet", "5.5|urn:iso:std:iso:4217|USD"))


@pytest.mark.parametrize("value", ["x", "1|mg", "1|a|b|c", f"1|{UCUM}|", "|a|b"])
def test_what_is_no_quantity_is_refused(value: str) -> None:
    with pytest.raises(Invalid):
        search("Observation", ("value-quantity", value))
