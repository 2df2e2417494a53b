"""Times keep their precision and offset; one without a zone takes the message's or the sender's, never the server's."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.primitives import PATTERNS
from mappings.times import Clock, a_date, a_time, moment


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("2026", "2026"),
        ("202602", "2026-02"),
        ("20260201", "2026-02-01"),
        ("2026020113", "2026-02-01T13:00:00+01:00"),
        ("202602011345", "2026-02-01T13:45:00+01:00"),
        ("20260201134506", "2026-02-01T13:45:06+01:00"),
        ("20260201134506.1230", "2026-02-01T13:45:06.1230+01:00"),
        ("20260201134506-0500", "2026-02-01T13:45:06-05:00"),
        ("202602011345+05:30", "2026-02-01T13:45:00+05:30"),
        ("20260201134506+0000", "2026-02-01T13:45:06+00:00"),
        ("20260701134506", "2026-07-01T13:45:06+02:00"),
    ],
)
def test_precision_and_offset_are_kept(sent: str, meant: str) -> None:
    assert Clock("Europe/Berlin", "").date_time(sent) == meant


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "x",
        "26",
        "20261301",
        "20260230",
        "2026020125",
        "202602011360",
        "20260201134561",
        "0000",
        "2026-02-01",
        "２０２６",
    ],
)
def test_what_is_no_time_is_none(sent: str) -> None:
    assert Clock("UTC", "").date_time(sent) is None


def test_a_fields_own_offset_comes_first() -> None:
    assert Clock("Europe/Berlin", "20260101000000-0300").date_time("202601011200+0900") == "2026-01-01T12:00:00+09:00"


def test_the_messages_offset_comes_before_a_sender_zone_that_disagrees() -> None:
    assert Clock("Europe/Berlin", "20260101000000-0500").date_time("202601011200") == "2026-01-01T12:00:00-05:00"


def test_the_senders_zone_knows_summer_time_where_it_agrees_with_the_message() -> None:
    winter = "20260101000000-0500"
    assert Clock("America/New_York", winter).date_time("202607011200") == "2026-07-01T12:00:00-04:00"
    assert Clock("America/New_York", winter).date_time("202601011200") == "2026-01-01T12:00:00-05:00"


def test_an_hour_that_comes_twice_is_the_first() -> None:
    assert Clock("Europe/Berlin", "").date_time("202610250230") == "2026-10-25T02:30:00+02:00"


def test_an_hour_that_never_was_keeps_the_offset_from_before() -> None:
    assert Clock("Europe/Berlin", "").date_time("202603290230") == "2026-03-29T02:30:00+01:00"


def test_without_any_zone_the_time_of_day_is_left_out() -> None:
    clock = Clock("", "20260101")
    assert clock.date_time("202601011200") == "2026-01-01"
    assert clock.instant("202601011200") is None


def test_an_offset_that_cannot_be_is_no_offset() -> None:
    assert Clock("UTC", "").date_time("202601011200+9900") == "2026-01-01T12:00:00+00:00"


@given(st.from_regex(r"\A[0-9]{4,14}(\.[0-9]{1,4})?([+-][0-9]{4})?\Z"), st.sampled_from(["UTC", "Asia/Kathmandu", ""]))
def test_any_digits_give_a_dateTime_or_none(sent: str, zone: str) -> None:
    found = Clock(zone, sent).date_time(sent)
    assert found is None or re.search(PATTERNS["dateTime"], found)


def test_a_date_is_cut_from_a_time() -> None:
    assert [a_date(text) for text in ("19800229", "198002291530", "1980", "19810229", "x")] == [
        "1980-02-29",
        "1980-02-29",
        "1980",
        None,
        None,
    ]


def test_a_time_of_day_gains_its_seconds() -> None:
    found = [a_time(text) for text in ("08", "0830", "083015.5", "08:30", "0830-0500", "24", "0860")]
    assert found == ["08:00:00", "08:30:00", "08:30:15.5", "08:30:00", "08:30:00", None, None]


def test_moments_compare_across_zones_and_precisions() -> None:
    first, second = moment("2026-01-01T12:00:00+02:00"), moment("2026-01-01T11:00:00+00:00")
    assert first is not None
    assert second is not None
    assert first < second
    assert moment("2026") == moment("2026-01-01") == moment("2026-01-01T00:00:00.000000000Z")
    assert moment("soon") is None
