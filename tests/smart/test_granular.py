"""Granular scopes as SMART App Launch 2.2 writes them: what is one, what it means, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.context import Scope
from fhir_server.errors import Invalid
from fhir_server.search.tree import AllKeys
from fhir_server.smart.granular import check, tree_of
from fhir_server.smart.rules import Rules
from fhir_server.smart.scopes import parse_scope
from tests.search.world import BASE, TENANT, finds, hasher, index, registry, search

RULES = Rules(hasher(), registry())
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"


def test_a_granular_scope_has_the_parameters_of_a_search() -> None:
    scope = parse_scope(f"patient/Observation.rs?category={CATEGORY}|laboratory")
    assert scope == Scope("patient", "Observation", "rs", (("category", f"{CATEGORY}|laboratory"),))


def test_encoded_characters_are_part_of_the_value() -> None:
    scope = parse_scope("user/Observation.rs?code=a%26b%2Cc%7Cd&status=final")
    assert scope is not None
    assert scope.params == (("code", "a&b,c|d"), ("status", "final"))


@pytest.mark.parametrize(
    "text",
    [
        "patient/Observation.rs?", "patient/Observation.rs?category", "patient/Observation.rs?=x",
        "patient/Observation.rs?category=", "patient/Observation.rs?category=a&", "patient/Observation.rs?category=%zz",
        "patient/Observation.rs?category=%ff", 'patient/Observation.rs?category="a"', "patient/Observation.rs?a=b c",
        "patient/Observation.rs?category=a\\b", "patient/Observation.read?category=a",
        "patient/Observation.*?category=a",
        "patient/Observation?category=a", "patient/Observation.rs?category=ä",
    ],
)  # fmt: skip
def test_what_is_written_otherwise_is_no_scope(text: str) -> None:
    assert parse_scope(text) is None


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=4))
def test_a_scope_comes_back_from_its_text_and_the_text_fits_a_token(params: list[tuple[str, str]]) -> None:
    params = [(n.encode("utf-8", "replace").decode(), v.encode("utf-8", "replace").decode()) for n, v in params]
    scope = Scope("patient", "Observation", "rs", tuple(sorted(set(params))))
    assert parse_scope(scope.text) == scope
    assert not set(scope.text) & set(' "\\')
    assert scope.text.isascii()


def test_it_compiles_to_the_tree_of_the_search() -> None:
    asked = ("category", f"{CATEGORY}|laboratory")
    tree = tree_of(RULES, TENANT, BASE, "Observation", (asked,))
    assert isinstance(tree, AllKeys)
    assert tree == search("Observation", asked).tree
    laboratory = {"coding": [{"system": CATEGORY, "code": "laboratory"}]}
    resource = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "category": [laboratory]}
    assert finds(resource, asked)
    assert set(tree.keys) <= set(index(resource).keys)


@pytest.mark.parametrize(
    "text",
    [
        "patient/Observation.rs?nonsense=1",
        "patient/Observation.rs?patient.name=Anna",
        "patient/Patient.rs?_has:Observation:patient:code=x",
        "patient/Observation.rs?_count=1",
        "patient/Observation.rs?_sort=date",
        "patient/Observation.rs?_include=Observation:subject",
        "patient/Observation.rs?_summary=count",
        "patient/Observation.rs?_list=1",
        "patient/Observation.rs?_content=x",
        "patient/Observation.rs?code:in=http://a.example/ValueSet/x",
        "patient/Observation.rs?date=ap2020",
        "patient/Observation.rs?date=yesterday",
        "patient/*.rs?category=laboratory",
        "patient/Observation.rs?category:sideways=x",
    ],
)
def test_a_scope_that_no_search_of_the_row_itself_can_be_is_refused_by_name(text: str) -> None:
    scope = parse_scope(text)
    assert scope is not None
    with pytest.raises(Invalid, match=r"patient/"):
        check(RULES, [scope])


@pytest.mark.parametrize(
    "text",
    ["patient/*.rs?_tag=a", "user/Observation.rs?date=ge2020&status:not=final", "patient/Condition.rs"],
)  # fmt: skip
def test_a_scope_that_can_be_searched_is_taken(text: str) -> None:
    scope = parse_scope(text)
    assert scope is not None
    assert check(RULES, [scope]) is None  # type: ignore[func-returns-value]
