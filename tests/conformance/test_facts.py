"""The distilled facts are the specification's, and the generated code is made of them and of nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conformance.r4 import facts, model
from conformance.r4.types import TYPE_CODES
from tests.conformance.examples import package
from tools import distil_r4, generate_model

R4 = Path(facts.__file__).parent


def test_the_model_is_what_the_generator_makes_of_the_facts(tmp_path: Path) -> None:
    generate_model.main(["--target", str(tmp_path)])
    for name in ("model.py", "types.py"):
        assert (tmp_path / name).read_text(encoding="utf-8") == (R4 / name).read_text(encoding="utf-8"), name


def test_the_facts_are_what_the_script_makes_of_the_package(tmp_path: Path) -> None:
    distil_r4.main([str(package()), "--target", str(tmp_path)])
    made = {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()}
    assert set(made) == {file.name for file in R4.glob("*.json")}
    for name, text in made.items():
        assert text == (R4 / name).read_text(encoding="utf-8"), name


def test_every_search_parameter_of_the_specification_is_there_once() -> None:
    parameters = facts.search_parameters()
    assert len(parameters) == 1376
    assert len({p.url for p in parameters}) == len(parameters)
    pairs = [(base, p.code) for p in parameters for base in p.base]
    assert len(set(pairs)) == len(pairs)


def test_a_search_parameter_says_what_it_searches() -> None:
    by_url = {p.url.rpartition("/")[2]: p for p in facts.search_parameters()}
    patient = by_url["clinical-patient"]
    assert (patient.code, patient.type) == ("patient", "reference")
    assert "Observation" in patient.base
    assert "Observation.subject.where(resolve() is Patient)" in (patient.expression or "")
    composite = by_url["Observation-code-value-quantity"]
    assert [c.expression for c in composite.component] == ["code", "value.as(Quantity)"]
    assert by_url["Resource-query"].expression is None


def test_the_parts_of_composites_are_search_parameters() -> None:
    urls = {p.url for p in facts.search_parameters()}
    assert {c.definition for p in facts.search_parameters() for c in p.component} <= urls


def test_compartments_name_search_parameters_of_their_members() -> None:
    codes = {(base, p.code) for p in facts.search_parameters() for base in p.base}
    assert sorted(facts.compartments()) == ["Device", "Encounter", "Patient", "Practitioner", "RelatedPerson"]
    named = {(t, c) for members in facts.compartments().values() for t, listed in members.items() for c in listed}
    assert {(t, c) for t, c in named - codes if c != "{def}"} == set()


def test_elements_know_cardinality_types_targets_and_bindings() -> None:
    contact = facts.groups()["Patient.contact"].elements
    assert contact["telecom"].repeats
    assert contact["organization"].targets == ("Organization",)
    assert contact["gender"].required == "http://hl7.org/fhir/ValueSet/administrative-gender"
    assert facts.groups()["Observation"].elements["status"].min == 1
    assert facts.groups()["Patient"].elements["deceased[x]"].types == ("boolean", "dateTime")
    assert facts.groups()["Bundle.entry"].elements["link"].content == "Bundle.link"


def test_elements_know_whether_they_are_of_the_summary_and_whether_they_modify() -> None:
    patient = facts.groups()["Patient"].elements
    assert [name for name in ("name", "photo", "contact", "link") if patient[name].summary] == ["name", "link"]
    assert [name for name in ("active", "name", "deceased[x]") if patient[name].modifier] == ["active", "deceased[x]"]
    assert not facts.groups()["Observation.component"].elements["referenceRange"].summary


def test_every_type_of_an_element_is_known() -> None:
    known = set(facts.groups())
    for name, group in facts.groups().items():
        for element in group.elements.values():
            assert element.content in {None, *known}, name
            assert all(facts.is_primitive(t) or t in known for t in element.types), name


def test_every_required_value_set_that_can_be_listed_is_listed() -> None:
    required = {e.required for g in facts.groups().values() for e in g.elements.values() if e.required}
    assert {url.rpartition("/")[2] for url in required - set(facts.value_sets())} == {
        "LL379-9",
        "currencies",
        "mimetypes",
        "ucum-units",
    }
    gender = facts.value_sets()["http://hl7.org/fhir/ValueSet/administrative-gender"]
    assert gender == {"http://hl7.org/fhir/administrative-gender": ("male", "female", "other", "unknown")}


def test_no_prose_stands_in_the_facts() -> None:
    texts: list[str] = []

    def gather(value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                texts.append(key)
                if key != "expression":
                    gather(inner)
        elif isinstance(value, list):
            for inner in value:
                gather(inner)
        elif isinstance(value, str):
            texts.append(value)

    for file in R4.glob("*.json"):
        gather(json.loads(file.read_bytes()))
    assert [text for text in texts if " " in text] == []


@pytest.mark.parametrize("resource_type", list(TYPE_CODES))
def test_every_resource_type_has_a_struct_that_bears_its_name(resource_type: str) -> None:
    struct = getattr(model, resource_type)
    assert struct.__struct_config__.tag == resource_type
    assert struct.__struct_config__.forbid_unknown_fields


def test_every_element_is_a_field_of_its_struct_under_its_json_name() -> None:
    for path, group in facts.groups().items():
        struct = getattr(model, generate_model.class_name(path))
        expected = {json_name for n, e in group.elements.items() for json_name, _ in facts.spelled(n, e)}
        assert expected <= set(struct.__struct_encode_fields__), path
        extra = set(struct.__struct_encode_fields__) - expected
        assert {name.removeprefix("_") for name in extra} <= expected, path
