"""Dates as intervals, and the prefixes over them. http://hl7.org/fhir/R4/search.html#prefix"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.errors import Invalid
from fhir_server.search.date import BEGINNING, FOREVER, approximate, interval, parse
from tests.search.world import compares, finds, index, search

SPAN = st.tuples(st.integers(0, 12), st.integers(1, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def moment(*parts: int) -> datetime:
    """Return a moment in UTC."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("text", "lo", "hi"),
    [
        ("2024", moment(2024, 1, 1), moment(2025, 1, 1)),
        ("2024-02", moment(2024, 2, 1), moment(2024, 3, 1)),
        ("2024-12", moment(2024, 12, 1), moment(2025, 1, 1)),
        ("2024-02-29", moment(2024, 2, 29), moment(2024, 3, 1)),
        ("2024-02-29T10:30", moment(2024, 2, 29, 10, 30), moment(2024, 2, 29, 10, 31)),
        ("2024-02-29T10:30Z", moment(2024, 2, 29, 10, 30), moment(2024, 2, 29, 10, 31)),
        ("2024-02-29T10:30+02:00", moment(2024, 2, 29, 8, 30), moment(2024, 2, 29, 8, 31)),
        ("2024-02-29T10:30 02:00", moment(2024, 2, 29, 8, 30), moment(2024, 2, 29, 8, 31)),
        ("2024-02-29T10:30:15", moment(2024, 2, 29, 10, 30, 15), moment(2024, 2, 29, 10, 30, 16)),
        ("2024-02-29T23:30:15-05:00", moment(2024, 3, 1, 4, 30, 15), moment(2024, 3, 1, 4, 30, 16)),
        ("2024-02-29T10:30:15.5Z", moment(2024, 2, 29, 10, 30, 15, 500000), moment(2024, 2, 29, 10, 30, 15, 600000)),
        ("2024-02-29T10:30:15.123Z", moment(2024, 2, 29, 10, 30, 15, 123000), moment(2024, 2, 29, 10, 30, 15, 124000)),
        (
            "2024-02-29T10:30:15.123456789Z",
            moment(2024, 2, 29, 10, 30, 15, 123456),
            moment(2024, 2, 29, 10, 30, 15, 123457),
        ),
        ("2016-12-31T23:59:60Z", moment(2017, 1, 1), moment(2017, 1, 1, 0, 0, 1)),
        ("9999", moment(9999, 1, 1), FOREVER),
        ("9999-12", moment(9999, 12, 1), FOREVER),
        ("9999-12-31", moment(9999, 12, 31), FOREVER),
    ],
)
def test_a_date_is_an_interval_as_wide_as_its_precision_and_utc_where_it_has_no_zone(
    text: str, lo: datetime, hi: datetime
) -> None:
    assert parse(text) == (lo, hi)


@pytest.mark.parametrize(
    "text",
    [
        "", "24", "2024-1", "2024-13", "2024-02-30", "2024-02-29T10", "2024-02-29T25:00", "2024-02-29T10:30:15.Z",
        "0000", "20240229", "2024-02-29 10:30", "2024-02-29T10:30:15+2", "２０２４", "2024-W05-1",
        "2024-02-29T10:30:99Z", "now", "2024\n", "2024-02-29T10:30:15.1234567891Z", "2024-00", "2024-02-29T10:30:61Z",
        "2024-02-29T10:30+25:00",
    ],
)  # fmt: skip
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


@given(SPAN, SPAN)
def test_each_prefix_means_what_the_table_says_of_two_ranges(target: tuple[int, int], value: tuple[int, int]) -> None:
    points = set(range(*target))
    sought = set(range(*value))
    above, below = set(range(value[1], 30)), set(range(-30, value[0]))
    expected = {
        "eq": points <= sought,
        "ne": not points <= sought,
        "gt": bool(points & above),
        "lt": bool(points & below),
        "ge": bool(points & above) or points <= sought,
        "le": bool(points & below) or points <= sought,
        "sa": not points & sought and points <= above,
        "eb": not points & sought and points <= below,
        "ap": bool(points & sought),
    }
    assert {prefix: compares(prefix, *target, *value) for prefix in expected} == expected


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("2024-03-05", True), ("2024-03", True), ("2024", True), ("2024-03-05T10", None), ("2024-03-05T10:30", False),
        ("ne2024-03-05", False), ("ne2024-03-05T10:30", True), ("gt2024-03-04", True), ("gt2024-03-05", False),
        ("gt2024-03-05T10:30", True), ("lt2024-03-05T10:30", True), ("lt2024-03-05", False), ("ge2024-03-05", True),
        ("ge2024-03-06", False), ("le2024-03-05", True), ("le2024-03-04", False), ("sa2024-03-04", True),
        ("sa2024-03-05T10:30", False), ("eb2024-03-06", True), ("eb2024-03-05", False), ("ap2024-03-05", True),
        ("ap2024-02", True), ("ap2023-03", False),
    ],
)  # fmt: skip
def test_a_date_of_a_resource_is_compared_as_the_whole_day_it_is(value: str, found: bool | None) -> None:
    observation = {"resourceType": "Observation", "status": "final", "code": {}, "effectiveDateTime": "2024-03-05"}
    observation["code"] = {"text": "x"}
    if found is None:
        with pytest.raises(Invalid, match="date"):
            finds(observation, ("date", value))
    else:
        assert finds(observation, ("date", value)) is found


PERIODS: list[tuple[dict[str, Any], str, bool]] = [
    ({"start": "2024-03-01", "end": "2024-03-03"}, "2024-03", True),
    ({"start": "2024-03-01", "end": "2024-03-03"}, "2024-03-03", False),
    ({"start": "2024-03-01", "end": "2024-03-03"}, "gt2024-03-02", True),
    ({"start": "2024-03-01", "end": "2024-03-03"}, "ap2024-03-03", True),
    ({"start": "2024-03-01"}, "gt2999", True),
    ({"start": "2024-03-01"}, "2024", False),
    ({"start": "2024-03-01"}, "sa2024-02", True),
    ({"end": "2024-03-01"}, "lt1900", True),
    ({"end": "2024-03-01"}, "eb2024-03-02", True),
    ({"start": "2000-01-01", "end": "2024-03-01"}, "ap2010", True),
    ({"start": "2000-01-01", "end": "2024-03-01"}, "2010", False),
]


@pytest.mark.parametrize(("period", "value", "found"), PERIODS)
def test_a_period_is_open_where_it_has_no_end_or_no_start(period: dict[str, Any], value: str, found: bool) -> None:
    encounter = {"resourceType": "Encounter", "status": "planned", "class": {"code": "AMB"}, "period": period}
    assert finds(encounter, ("date", value)) is found


def test_an_open_period_reaches_to_the_end_of_time() -> None:
    encounter = {"resourceType": "Encounter", "status": "planned", "class": {"code": "AMB"}}
    ((_, lo, hi),) = index({**encounter, "period": {"start": "2024"}}).dates
    assert (lo, hi) == (moment(2024, 1, 1), FOREVER)
    ((_, lo, hi),) = index({**encounter, "period": {"end": "2024"}}).dates
    assert (lo, hi) == (BEGINNING, moment(2025, 1, 1))


def test_a_timing_counts_by_its_outer_limits() -> None:
    request = {"resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": {"display": "x"}}
    timing = {
        "event": ["2024-03-01", "2024-03-09"],
        "repeat": {"boundsPeriod": {"start": "2024-02-27", "end": "2024-03-02"}},
    }
    ((_, lo, hi),) = index({**request, "occurrenceTiming": timing}).dates
    assert (lo, hi) == (moment(2024, 2, 27), moment(2024, 3, 10))
    assert index({**request, "occurrenceTiming": {"repeat": {"frequency": 1}}}).dates == []


def test_an_approximate_date_reaches_a_tenth_of_its_distance_from_now() -> None:
    low, high = interval("2024-01-01")
    assert approximate(low, high, high + timedelta(days=100)) == (low - timedelta(days=10), high + timedelta(days=10))
    assert approximate(low, high, low - timedelta(days=100)) == (low - timedelta(days=10), high + timedelta(days=10))
    assert approximate(low, high, low) == (low, high)


def test_an_approximate_date_at_the_end_of_time_stays_a_date() -> None:
    request = search("Observation", ("date", "ap9999-12-31"), ("date", "ap0001"))
    assert request.tree


def test_an_approximate_date_needs_the_current_time() -> None:
    with pytest.raises(Invalid, match="current time"):
        search("Observation", ("date", "ap2024"), now=None)


def test_a_search_of_a_birth_date_finds_the_year_that_a_resource_names() -> None:
    patient = {"resourceType": "Patient", "birthDate": "1980"}
    assert finds(patient, ("birthdate", "1980"))
    assert finds(patient, ("birthdate", "ap1980-05"))
    assert not finds(patient, ("birthdate", "1980-05"))


def test_the_moment_of_the_last_update_is_compared_as_a_point() -> None:
    patient = {"resourceType": "Patient"}
    for value, found in (("2024-06-01", True), ("gt2024-06-01T12:00", False), ("ge2024-06-01T12:00:00Z", True)):
        assert finds(patient, ("_lastUpdated", value)) is found
    assert not finds(patient, ("_lastUpdated", "lt2024-06-01"))
    assert finds(patient, ("_lastUpdated", "sa2024-05"), ("_lastUpdated", "eb2024-07"))
