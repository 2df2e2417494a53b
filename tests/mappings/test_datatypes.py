"""Our converters against HL7's own maps of the data types: what they map matters, or is listed with a reason.

https://build.fhir.org/ig/HL7/v2-to-fhir/datatype_maps.html
"""

from __future__ import annotations

from typing import Any

import pytest

from mappings.convert import CONVERTERS
from mappings.table import read
from tests.mappings.reading import context, value

# components that HL7 maps and we do not, each for the reason beside it
UNMAPPED: dict[str, set[int]] = {
    "CWE[CodeableConcept]": set(),
    "CX[Identifier]": set(),
    # census tract: the extension that HL7 names is of another type than its table says
    "XAD[Address]": {10},
    # check digit and assembly order, which say nothing of the person
    "XCN[Practitioner]": {11, 12, 18},
    # check digit
    "XON[Organization]": {4, 5},
    # assembly order; a called-by name would need a second HumanName
    "XPN[HumanName]": {11, 15},
    "XTN[ContactPoint]": set(),
}
# for each type, values in which a component may matter: each other component at hand, or as few as can be
BASES: dict[str, list[dict[int, str]]] = {
    "CWE[CodeableConcept]": [{n: f"V{n}" for n in range(1, 23)}],
    "CX[Identifier]": [{1: "1"}],
    "XAD[Address]": [{3: "Town"}],
    "XCN[Practitioner]": [{1: "11", 2: "Doe"}, {}],
    "XON[Organization]": [{1: "Lab", 3: "7"}, {1: "Lab"}, {}],
    "XPN[HumanName]": [{1: "Doe"}],
    "XTN[ContactPoint]": [{6: "555", 7: "1234"}, {12: "555", 2: "WPN"}, {3: "Internet"}, {}],
}
SAMPLES: dict[str, dict[int, str]] = {
    "CX[Identifier]": {5: "MR", 7: "20200101", 8: "2021"},
    "XAD[Address]": {7: "H", 12: "20200101&2021", 13: "20200101", 14: "2021"},
    "XCN[Practitioner]": {7: "MD", 10: "L", 13: "MD", 17: "20200101&2021", 19: "20200101", 20: "2021"},
    "XON[Organization]": {7: "XX"},
    "XPN[HumanName]": {7: "L", 10: "20200101&2021", 12: "20200101", 13: "2021"},
    "XTN[ContactPoint]": {2: "PRN", 3: "FX", 13: "20200101", 14: "2021", 18: "1"},
}


@pytest.mark.parametrize("name", sorted(UNMAPPED))
def test_every_component_that_hl7_maps_changes_what_comes_out(name: str) -> None:
    components = {int(row["component"].split(".")[1]) for row in read("datatypes")[name] if "." in row["component"]}
    assert {number for number in components if not matters(name, number)} == UNMAPPED[name]


def matters(name: str, number: int) -> bool:
    """Tell whether the component changes what one of the bases becomes."""
    sample = SAMPLES.get(name, {}).get(number, f"V{number}")
    return any(outcome(name, {**base, number: sample}) != outcome(name, {**base, number: ""}) for base in BASES[name])


def outcome(name: str, parts: dict[int, str]) -> Any:
    """Return what a value becomes, and the resources it makes."""
    cx = context()
    raw = "^".join(parts.get(n, "") for n in range(1, 24))
    return CONVERTERS[name](value(raw), cx, None), [entry.resource for entry in cx.entries.values()]
