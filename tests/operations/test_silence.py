"""Silence is counted in the hours in which a sender is expected, by the clock on the wall of its channel."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.errors import Invalid
from fhir_server.operations.definition import read
from fhir_server.operations.silence import expected, too_long
from fhir_server.operations.watching import Silence, Watch

NEW_YORK = ZoneInfo("America/New_York")
WEEKDAYS: Any = ("mon", "tue", "wed", "thu", "fri")
DAYTIME = Silence(minutes=120, days=WEEKDAYS, from_="08:00", to="18:00")
WATCH = Watch(silence=(DAYTIME,), zone="America/New_York")


def at(text: str) -> datetime:
    """Return a moment from the clock on a wall in New York."""
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).astimezone(UTC)


def minutes(since: str, now: str, rule: Silence = DAYTIME, holidays: frozenset[str] = frozenset()) -> float:
    """Return the expected minutes between two times."""
    return expected(rule, NEW_YORK, holidays, at(since), at(now)) / timedelta(minutes=1)


def test_two_hours_without_a_message_on_a_weekday_are_too_long_and_a_minute_less_is_not() -> None:
    assert too_long(WATCH, "UTC", at("2026-03-03T10:00"), at("2026-03-03T11:59")) is None
    assert too_long(WATCH, "UTC", at("2026-03-03T10:00"), at("2026-03-03T12:05")) == (125, 120)


def test_a_night_and_a_weekend_do_not_count() -> None:
    assert minutes("2026-03-06T17:59", "2026-03-09T08:29") == 30
    assert too_long(WATCH, "UTC", at("2026-03-06T17:00"), at("2026-03-08T23:00")) is None


def test_a_holiday_does_not_count() -> None:
    assert minutes("2026-12-24T17:00", "2026-12-28T09:00", holidays=frozenset(("2026-12-25",))) == 120


def test_hours_over_midnight_belong_to_the_day_on_which_they_begin() -> None:
    night = Silence(minutes=60, days=("fri",), from_="22:00", to="06:00")
    assert minutes("2026-03-06T12:00", "2026-03-07T12:00", night) == 8 * 60
    assert minutes("2026-03-07T12:00", "2026-03-08T12:00", night) == 0


def test_a_day_on_which_clocks_are_changed_is_an_hour_shorter_or_longer() -> None:
    always = Silence(minutes=60)
    assert minutes("2026-03-08T00:00", "2026-03-09T00:00", always) == 23 * 60
    assert minutes("2026-11-01T00:00", "2026-11-02T00:00", always) == 25 * 60


def test_hours_begin_at_the_same_time_on_the_wall_in_winter_and_in_summer() -> None:
    assert minutes("2026-03-06T18:00", "2026-03-09T08:30") == 30
    assert minutes("2026-10-30T18:00", "2026-11-02T08:30") == 30


def test_the_zone_is_the_channels_where_the_watch_names_none() -> None:
    watch = Watch(silence=(DAYTIME,))
    since, now = at("2026-03-03T15:00"), at("2026-03-03T17:30")
    assert too_long(watch, "America/New_York", since, now) == (150, 120)
    assert too_long(watch, "Asia/Tokyo", since, now) is None


def test_the_first_rule_that_is_broken_counts() -> None:
    slow = Silence(minutes=600)
    watch = Watch(silence=(slow, DAYTIME), zone="America/New_York")
    assert too_long(watch, "UTC", at("2026-03-03T10:00"), at("2026-03-03T13:00")) == (180, 120)
    assert too_long(watch, "UTC", at("2026-03-03T10:00"), at("2026-03-03T23:00")) == (780, 600)


@given(st.integers(0, 60 * 24 * 400), st.integers(0, 60 * 24 * 40), st.integers(0, 60 * 24 * 20))
def test_what_is_expected_adds_up_and_is_never_more_than_went_by(start: int, first: int, second: int) -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=start)
    middle, now = since + timedelta(minutes=first), since + timedelta(minutes=first + second)
    whole = expected(DAYTIME, NEW_YORK, frozenset(), since, now)
    parts = [expected(DAYTIME, NEW_YORK, frozenset(), *span) for span in ((since, middle), (middle, now))]
    assert whole == sum(parts, timedelta())
    assert timedelta() <= whole <= now - since


def test_a_watch_is_read_with_the_definition_and_written_back() -> None:
    given = {
        "name": "lab",
        "watch": {
            "silence": [{"minutes": 120, "days": ["mon", "tue"], "from": "08:00", "to": "18:00"}],
            "holidays": ["2026-12-25"], "queue_minutes": 15, "buried": 3, "error_percent": 2.5,
            "emails": ["lab@example.org"],
        },
    }  # fmt: skip
    found = read(msgspec.json.encode(given))
    assert found.watch.silence[0].from_ == "08:00"
    assert msgspec.json.decode(msgspec.json.encode(found)) == given


@pytest.mark.parametrize(
    ("watch", "path"),
    [
        ({"silence": [{"minutes": 0}]}, "watch.silence[0].minutes"),
        ({"silence": [{"minutes": 5, "days": []}]}, "watch.silence[0].days"),
        ({"silence": [{"minutes": 5, "from": "24:00"}]}, "watch.silence[0].from"),
        ({"silence": [{"minutes": 5, "to": "8"}]}, "watch.silence[0].to"),
        ({"zone": "Mars/Base"}, "watch.zone"),
        ({"holidays": ["25.12.2026"]}, "watch.holidays"),
        ({"emails": ["a@b\nBcc: c@d"]}, "watch.emails"),
        ({"emails": ["nobody"]}, "watch.emails"),
        ({"queue_minutes": 0}, "watch.queue_minutes"),
        ({"buried": 0}, "watch.buried"),
        ({"error_percent": 101}, "watch.error_percent"),
        ({"within": 1}, "watch.within"),
    ],
)
def test_what_is_wrong_with_a_watch_is_told_by_its_element(watch: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as failure:
        read(msgspec.json.encode({"name": "lab", "watch": watch}))
    assert [issue.expression[0] for issue in failure.value.issues] == [f"Channel.{path}"]
