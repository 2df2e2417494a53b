"""A tree as SQL: tenant everywhere, one text for one shape, the order that lets indexes serve."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec
import pytest

from fhir_server.search import plan
from fhir_server.search.plan import Statement
from fhir_server.search.request import Position, SearchRequest
from fhir_server.search.tree import AllKeys, And, Everything, Nothing, OfPatient, Tree
from tests.search.world import TENANT, search

EVERYTHING = Everything()
SHAPES: list[tuple[str, list[tuple[str, str]]]] = [
    ("Patient", []),
    ("Patient", [("identifier", "urn:a|1")]),
    ("Patient", [("name", "a")]),
    ("Patient", [("name", "a,b"), ("given", "c")]),
    ("Patient", [("birthdate", "ge1980"), ("birthdate", "lt1990")]),
    ("Patient", [("_id", "a,b"), ("gender", "male")]),
    ("Observation", [("patient", "1"), ("category", "a,b"), ("date", "ne2024")]),
    ("Observation", [("_lastUpdated", "gt2024")]),
    ("RiskAssessment", [("probability", "gt0.5")]),
]


def statement(resource_type: str, *params: tuple[str, str], restrict: Tree = EVERYTHING) -> Statement:
    """Return the statement of a search."""
    return plan.select(search(resource_type, *params), TENANT, restrict)


@pytest.mark.parametrize(("resource_type", "params"), SHAPES)
@pytest.mark.parametrize("restrict", [EVERYTHING, OfPatient(5)])
def test_every_table_names_the_tenant_and_only_live_rows_are_found(
    resource_type: str, params: list[tuple[str, str]], restrict: Tree
) -> None:
    request = search(resource_type, *params)
    for made in (plan.select(request, TENANT, restrict), plan.count(request, TENANT, restrict)):
        tables = re.findall(r"\b(?:from|join) (?!\()(\w+)", made.sql)
        assert made.sql.count("tenant_id = %s") == len(tables)
        counted = made.sql.startswith("select (")
        assert ("- (select count(*) from" in made.sql) if counted else ("resource.body is not null" in made.sql)
        assert made.sql.count("%s") == len(made.params)
        assert [value for value in made.params if value == TENANT and isinstance(value, int)].count(TENANT) >= len(
            tables
        )


@pytest.mark.parametrize(("resource_type", "params"), SHAPES)
def test_no_value_stands_in_the_text_of_a_statement(resource_type: str, params: list[tuple[str, str]]) -> None:
    text = statement(resource_type, *params).sql.replace("interval '0'", "")
    assert not re.search(r"[0-9']", text)


def test_one_shape_has_one_text_whatever_its_values() -> None:
    assert statement("Patient", ("_id", "a")).sql == statement("Patient", ("_id", "b,c,d")).sql
    first = statement("Observation", ("code", "a,b"), ("patient", "1"), ("date", "ge2020"))
    second = statement("Observation", ("code", "c,d,e,f"), ("patient", "2"), ("date", "ge2021-03-04"))
    assert first.sql == second.sql
    assert first.params != second.params


def test_one_row_more_than_the_page_is_fetched() -> None:
    assert statement("Patient", ("_count", "7")).params[-1] == 8


@pytest.mark.parametrize(
    ("params", "hidden"),
    [
        ([], False),
        ([("status", "final")], False),
        ([("status", "final,amended")], False),
        ([("status", "final"), ("code", "a")], True),
        ([("status", "final"), ("code", "a,b")], True),
        ([("patient", "1"), ("date", "ge2020")], True),
        ([("date", "ge2020"), ("date", "lt2021")], False),
        ([("date", "ge2020-01-01"), ("date", "lt2020-01-15")], True),
        ([("date", "gt2020-01-01"), ("date", "le2020-01-15")], True),
        ([("date", "2020-01")], True),
        ([("date", "2020")], False),
        ([("date", "ge2020")], False),
        ([("date", "ne2020-01-01")], False),
        ([("status", "final"), ("_lastUpdated", "gt2020")], False),
        ([("_id", "a")], False),
    ],
)
def test_the_time_index_is_hidden_where_two_conditions_meet(params: list[tuple[str, str]], hidden: bool) -> None:
    assert ("updated + interval '0'" in statement("Observation", *params).sql) is hidden


def test_two_bounds_of_one_date_are_one_condition_and_of_several_dates_are_two() -> None:
    both = [("date", "ge2020"), ("date", "lt2021")]
    assert statement("Observation", *both).sql.count("idx_date") == 1
    assert statement("Goal", ("target-date", "ge2020"), ("target-date", "lt2021")).sql.count("idx_date") == 2


def test_alternatives_in_one_table_are_one_condition() -> None:
    assert statement("Patient", ("name", "a,b,c")).sql.count("idx_string") == 1


@pytest.mark.parametrize(("sort", "way", "sign"), [("_lastUpdated", "asc", ">"), ("-_lastUpdated", "desc", "<")])
def test_both_columns_of_the_order_run_the_same_way_and_page_by_row_value(sort: str, way: str, sign: str) -> None:
    request = search("Patient", ("_sort", sort))
    made = plan.select(_after(request), TENANT, EVERYTHING)
    assert f"order by resource.updated {way}, resource.rid {way}" in made.sql
    assert f"(resource.updated, resource.rid) {sign} (%s, %s)" in made.sql
    assert made.params[-3:] == (datetime(2024, 1, 1, tzinfo=UTC), 42, 21)


def _after(request: SearchRequest) -> SearchRequest:
    return msgspec.structs.replace(request, after=Position((datetime(2024, 1, 1, tzinfo=UTC),), 42))


def test_a_patients_own_rows_are_found_by_key_and_decided_by_column() -> None:
    made = statement("Observation", ("code", "a"), restrict=And((OfPatient(5), Everything())))
    assert "resource.patient = %s" in made.sql
    assert any(isinstance(value, list) and 5 in value for value in made.params)


def test_a_condition_for_a_row_that_is_known_asks_the_column_alone() -> None:
    assert plan.condition(OfPatient(5), TENANT) == ("resource.patient = %s", (5,))
    assert plan.condition(Everything(), TENANT) == ("", ())
    assert plan.condition(Nothing(), TENANT) == ("false", ())
    assert plan.condition(AllKeys((1, 2)), TENANT) == ("resource.keys @> %s::bigint[]", ([1, 2],))


def test_a_search_without_an_answer_says_so_to_the_planner() -> None:
    assert " and false" in statement("Patient", ("gender", "urn:x|")).sql


def test_what_has_no_value_is_not_looked_for_along_the_values() -> None:
    assert "walked" in statement("Patient", ("_sort", "birthdate")).sql
    for code in ("birthdate", "family"):
        made = statement("Patient", (f"{code}:missing", "true"), ("_sort", code))
        assert "walked" not in made.sql
        assert "walked" in statement("Patient", (f"{code}:missing", "false"), ("_sort", code)).sql


def test_all_of_a_type_are_counted_less_the_deleted() -> None:
    made = plan.count(search("Patient"), TENANT, EVERYTHING)
    assert made.sql.endswith("resource.body is null)")
    assert "body is null)" not in plan.count(search("Patient"), TENANT, OfPatient(5)).sql
    assert "body is null)" not in plan.count(search("Patient", ("gender", "male")), TENANT, EVERYTHING).sql


def test_a_plan_is_made_for_its_values_where_they_matter() -> None:
    assert statement("Patient", ("gender", "male")).pin
    assert not statement("Patient", ("_id", "a")).pin
    assert not statement("Patient").pin
