"""Query parameters to a typed request. http://hl7.org/fhir/R4/search.html"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.errors import Invalid
from fhir_server.limits import Limits
from fhir_server.search.request import Sort
from fhir_server.search.tree import AllKeys, And, AnyKey, Everything, IdIn, Or, StringStarts
from tests.search.world import search

Told = list[tuple[str, str, tuple[str, ...]]]


def issues_of(resource_type: str, *params: tuple[str, str], **more: object) -> Told:
    """Return code, text and expression of the issues of a search; none where it is not refused."""
    try:
        search(resource_type, *params, **more)
    except Invalid as refusal:
        return [(issue.code, issue.diagnostics, issue.expression) for issue in refusal.issues]
    return []


def refused(resource_type: str, *params: tuple[str, str], **more: object) -> Told:
    """Return the issues of a search that is refused."""
    issues = issues_of(resource_type, *params, **more)
    assert issues, "the search was taken"
    return issues


def test_no_parameters_ask_for_everything_newest_first() -> None:
    request = search("Patient")
    assert request.tree == Everything()
    assert request.sort == (Sort("_lastUpdated", True),)
    assert (request.count, request.total, request.cursor, request.applied, request.ignored) == (
        20,
        "none",
        None,
        [],
        [],
    )


def test_commas_are_or_and_repeated_parameters_are_and() -> None:
    request = search("Patient", ("name", "a,b"), ("name", "c"), ("gender", "male,female"), ("active", "true"))
    assert isinstance(request.tree, And)
    kinds = [type(part) for part in request.tree.parts]
    assert sorted(kind.__name__ for kind in kinds) == ["AllKeys", "AnyKey", "Or", "StringStarts"]


def test_an_escaped_comma_belongs_to_the_value() -> None:
    tree = search("Patient", ("name", r"a\,b")).tree
    assert isinstance(tree, StringStarts)
    assert tree.value == "a,b"


def test_keys_that_must_all_hold_are_gathered_into_one_condition() -> None:
    tree = search("Observation", ("status", "final"), ("patient", "1"), ("status", "final")).tree
    assert isinstance(tree, AllKeys)
    assert len(tree.keys) == 2


def test_one_value_said_twice_is_said_once() -> None:
    assert isinstance(search("Patient", ("gender", "male,male")).tree, AllKeys)
    assert isinstance(search("Patient", ("name", "a,A")).tree, StringStarts)
    assert isinstance(search("Patient", ("gender", "male,female")).tree, AnyKey)


def test_ids_are_alternatives() -> None:
    assert search("Patient", ("_id", "a,b,a")).tree == IdIn(("a", "b"))


def test_a_mixture_of_strings_stays_an_or() -> None:
    assert isinstance(search("Patient", ("name", "a,b")).tree, Or)


@pytest.mark.parametrize(("value", "descending"), [("_lastUpdated", False), ("-_lastUpdated", True)])
def test_the_order_is_by_last_update_either_way(value: str, descending: bool) -> None:
    request = search("Patient", ("_sort", value))
    assert request.sort == (Sort("_lastUpdated", descending),)
    assert request.applied == [("_sort", value)]


@pytest.mark.parametrize(("value", "count", "total"), [("5", 5, "none"), ("100000", 100, "none"), ("0", 0, "accurate")])
def test_count_is_limited_and_none_means_the_total_alone(value: str, count: int, total: str) -> None:
    request = search("Patient", ("_count", value))
    assert (request.count, request.total) == (count, total)
    assert request.applied == [("_count", str(count))]


@pytest.mark.parametrize("value", ["none", "estimate", "accurate"])
def test_the_total_is_given_as_asked(value: str) -> None:
    assert search("Patient", ("_total", value)).total == value


def test_a_summary_of_the_count_is_the_total_alone() -> None:
    request = search("Patient", ("_summary", "count"))
    assert (request.count, request.total) == (0, "accurate")
    assert search("Patient", ("_summary", "false")).count == 20


def test_the_self_link_shows_what_was_applied_in_order_and_no_cursor() -> None:
    request = search("Patient", ("name", "a"), ("_cursor", "x"), ("active", "true"), ("_count", "3"))
    assert request.applied == [("name", "a"), ("active", "true"), ("_count", "3")]
    assert request.cursor == "x"


def test_an_unknown_parameter_is_refused_by_name() -> None:
    ((code, text, expression),) = refused("Patient", ("colour", "red"))
    assert (code, text, expression) == ("not-supported", "Patient has no search parameter 'colour'", ("http.colour",))


def test_a_lenient_search_leaves_out_what_is_unknown_and_says_so() -> None:
    request = search("Patient", ("colour", "red"), ("name", "a"), ("_query", "x"), ("_foo:bar", "x"), lenient=True)
    assert request.ignored == ["colour", "_query", "_foo:bar"]
    assert request.applied == [("name", "a")]


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("name:not", "a", "the modifier :not is not supported"),
        ("gender:exact", "male", "the modifier :exact is not supported"),
        ("gender:in", "male", "canonical URL"),
        ("gender:missing", "maybe", "true or false is expected"),
        ("organization:Patient.name", "x", "does not lead to a Patient"),
        ("name.family", "x", "is no reference"),
        ("_has:Observation:patient", "x", "_has is written"),
        ("_has:Nothing:patient:code", "x", "not a resource type"),
        ("_has:Observation:encounter:code", "x", "does not lead to a Patient"),
        ("_has:Observation:code:code", "x", "is no reference"),
        ("general-practitioner:Practitioner.name:above", "x", "the modifier :above is not supported"),
        ("link:RelatedPerson.patient:Patient.birthdate", "soon", "not a date"),
        ("birthdate", "yesterday", "not a date"),
        ("birthdate", "xx2024", "not a date"),
        ("birthdate", "2024,", "a value is missing"),
        ("name", "", "a value is missing"),
        ("name", "\u0301", "no text"),
        ("name", "x" * 501, "longer than 500"),
        ("name", "a\0b", "not Unicode"),
        ("name", "a\ud800b", "not Unicode"),
        ("_sort", "name,", "the name of a search parameter is missing"),
        ("_sort", "organization.name", "cannot be sorted by"),
        ("_sort", "name:exact", "cannot be sorted by"),
        ("_sort", ",".join(["name"] * 9), "more than 8 parameters"),
        ("_count", "-1", "a whole number"),
        ("_count", "1.5", "a whole number"),
        ("_count", "９", "a whole number"),
        ("_count", "99999999999", "a whole number"),
        ("_total", "maybe", "supported are none, estimate, accurate"),
        ("_summary", "most", "supported are true, text, data, count, false"),
    ],
)
def test_an_unsupported_modifier_or_unusable_value_is_refused_always(
    name: str, value: str, said: str, lenient: bool
) -> None:
    ((_, text, expression),) = refused("Patient", (name, value), lenient=lenient)
    assert said in text
    assert expression == (f"http.{name}",)


def test_kinds_that_are_not_served_are_named() -> None:
    ((code, text, _),) = refused("Location", ("near", "1"))
    assert code == "not-supported"
    assert "of type special" in text
    assert search("Location", ("near", "1"), lenient=True).ignored == ["near"]


def test_every_problem_is_told_at_once() -> None:
    found = refused("Patient", ("colour", "red"), ("birthdate", "x"), ("_count", "x"), ("name", "a"))
    assert [expression for _, _, expression in found] == [("http.colour",), ("http.birthdate",), ("http._count",)]


@pytest.mark.parametrize("name", ["_count", "_sort", "_total", "_summary", "_cursor"])
def test_what_steers_the_result_is_given_once(name: str) -> None:
    value = {"_count": "1", "_sort": "_lastUpdated", "_total": "none", "_summary": "false", "_cursor": "x"}[name]
    ((_, text, _),) = refused("Patient", (name, value), (name, value))
    assert "more than once" in text


def test_the_number_of_values_is_limited() -> None:
    many = ",".join(str(number) for number in range(11))
    assert search("Patient", ("_id", many), limits=Limits(max_values=11))
    assert "more than 10 values" in refused("Patient", ("_id", many), limits=Limits(max_values=10))[0][1]
    twice = refused("Patient", ("_id", many), ("_id", many), limits=Limits(max_values=20))
    assert "more than 20 values" in twice[0][1]


def test_what_a_client_sent_is_cut_in_the_answer() -> None:
    ((_, text, expression),) = refused("Patient", ("x" * 10_000, "y" * 10_000))
    assert len(text) < 400
    assert len(expression[0]) < 120


@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from(["Patient", "Observation", "ValueSet", "Location"]))
def test_no_query_whatever_does_more_than_be_refused(name: str, value: str, resource_type: str) -> None:
    problems = issues_of(resource_type, (name, value), ("_total", "none"))
    assert all(text for _, text, _ in problems)


@given(
    st.sampled_from(
        [
            "name",
            "birthdate",
            "identifier",
            "general-practitioner",
            "gender",
            "_id",
            "_lastUpdated",
            "_profile",
            "_count",
        ]
    ),
    st.text(st.sampled_from("aegt20-:TZ.|,\\$/é\0 +"), max_size=25),
)
def test_no_value_whatever_does_more_than_be_refused(name: str, value: str) -> None:
    assert all(expression == (f"http.{name}",) for _, _, expression in issues_of("Patient", (name, value)))
