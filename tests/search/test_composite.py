"""Composite parameters of the specification: each is answered. http://hl7.org/fhir/R4/search.html#composite"""

from __future__ import annotations

from conformance.r4.types import TYPE_CODES
from conformance.search_params import SearchParam
from fhir_server.search.composite_parts import ORDERED, composite
from tests.search.world import index, registry, search

VALUES = {
    "token": "urn:s|c",
    "reference": "DocumentReference/1",
    "quantity": "gt5|http://unitsofmeasure.org|g",
    "number": "lt7",
    "date": "ge2024",
    "string": "a",
}


def composites() -> list[SearchParam]:
    """Return every composite parameter of every type."""
    return [p for name in TYPE_CODES for p in registry().for_type(name).values() if p.kind == "composite"]


def test_every_composite_of_the_specification_is_answered() -> None:
    found = composites()
    assert len(found) > 70
    for param in found:
        made = composite(registry().for_type(param.base), param)
        assert made, f"{param.base}.{param.code}"
        assert len(made.definitions) == len(param.components)
        assert None not in made.definitions
        for parts in [*made.together, *(one.parts for one in made.within)]:
            request = search(param.base, (param.code, "$".join(VALUES[part.kind] for part in parts)))
            assert request.tree, f"{param.base}.{param.code}"


def test_no_more_numbers_and_dates_than_the_index_has_room_for() -> None:
    for param in composites():
        made = composite(registry().for_type(param.base), param)
        assert made
        for one in made.within:
            kinds = [part.kind for part, outside in zip(one.parts, one.outside, strict=True) if not outside]
            assert sum(kind in ORDERED for kind in kinds) <= 2


def test_parameters_of_equal_parts_share_the_entries() -> None:
    params = registry().for_type("Observation")
    names = [
        {one.name for one in made.within}
        for code in ("combo-code-value-quantity", "component-code-value-quantity")
        if (made := composite(params, params[code]))
    ]
    assert names[0] == names[1]


def test_only_elements_that_repeat_have_entries_of_their_own() -> None:
    plain = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
    value = {"value": 1, "unit": "g"}
    assert index({**plain, "valueQuantity": value}).composites == []
    coded = {"code": {"coding": [{"system": "urn:s", "code": "c"}]}, "valueQuantity": value}
    assert len(index({**plain, "component": [coded, coded]}).composites) == 1
    assert index({**plain, "component": [{"code": {"text": "x"}, "valueQuantity": value}]}).composites == []
