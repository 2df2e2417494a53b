"""The registry of search parameters. http://hl7.org/fhir/R4/searchparameter-registry.html"""

from __future__ import annotations

import pytest

from conformance.fhirpath import Unsupported
from conformance.r4.facts import SearchParameter
from conformance.search_params import Registry
from conformance.structures import STORABLE


@pytest.fixture(scope="module")
def registry() -> Registry:
    """Give the parameters of R4."""
    return Registry.r4()


def test_every_storable_type_has_the_parameters_of_all_resources(registry: Registry) -> None:
    for name in STORABLE:
        assert {"_id", "_lastUpdated", "_tag", "_profile", "_security", "_source"} <= registry.for_type(name).keys()


def test_a_parameter_of_several_types_has_the_paths_of_each_alone(registry: Registry) -> None:
    patient = registry.for_type("Patient")["family"]
    assert [branch.attribute for branch in patient.branches] == ["name"]
    assert registry.for_type("Condition")["code"].types == {"CodeableConcept"}
    assert registry.for_type("Medication")["code"].branches[0].attribute == "code"


def test_kinds_and_targets_are_those_of_the_specification(registry: Registry) -> None:
    observation = registry.for_type("Observation")
    assert observation["patient"].kind == "reference"
    assert observation["patient"].targets == ("Patient",)
    assert set(observation["subject"].targets) == {"Patient", "Group", "Device", "Location"}
    assert len(observation["focus"].targets) > 100
    assert observation["value-quantity"].kind == "quantity"
    assert observation["combo-code-value-quantity"].components
    assert registry.for_type("Location")["near"].kind == "special"


def test_an_unknown_type_has_no_parameters(registry: Registry) -> None:
    assert registry.for_type("Nothing") == {}


def test_the_parameters_cannot_be_changed_from_outside(registry: Registry) -> None:
    with pytest.raises(TypeError):
        registry.for_type("Patient")["_id"] = registry.for_type("Patient")["name"]  # type: ignore[index]


def test_a_choice_has_one_date_at_most_and_a_list_may_have_several(registry: Registry) -> None:
    assert registry.for_type("Observation")["date"].single
    assert not registry.for_type("Goal")["target-date"].single
    assert not registry.for_type("Observation")["combo-value-concept"].single


def test_a_parameter_whose_path_cannot_be_compiled_stops_the_registry() -> None:
    broken = SearchParameter("http://example.org/x", "x", ("Patient",), "token", "Patient.nothing")
    with pytest.raises(Unsupported, match="nothing"):
        Registry([broken])


def test_a_further_definition_is_known_to_its_own_types_alone() -> None:
    more = Registry([SearchParameter("http://example.org/x", "x", ("Patient",), "token", "Patient.active")])
    assert more.for_type("Patient")["x"].types == {"boolean"}
    assert "x" not in more.for_type("Person")
