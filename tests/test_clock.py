"""The clock: aware UTC time, or in tests the time in a file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fhir_server.clock import ClockError, clock, in_milliseconds


def test_the_real_clock_tells_aware_utc_time() -> None:
    before = datetime.now(UTC)
    told = clock()()
    assert before <= told <= datetime.now(UTC)
    assert told.tzinfo is UTC


def test_the_test_clock_tells_what_stands_in_the_file_at_each_call(tmp_path: Path) -> None:
    file = tmp_path / "now"
    now = clock(file)
    file.write_text("2024-02-29T23:59:59.5+02:00\n")
    assert now() == datetime(2024, 2, 29, 21, 59, 59, 500_000, tzinfo=UTC)
    file.write_text("2024-03-01T00:00:00Z")
    assert now() == datetime(2024, 3, 1, tzinfo=UTC)
    assert now().tzinfo is UTC


def test_a_time_without_a_zone_is_utc(tmp_path: Path) -> None:
    (tmp_path / "now").write_text("2024-03-01T12:00:00")
    assert clock(tmp_path / "now")() == datetime(2024, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "tomorrow", "2024-02-30"])
def test_a_file_without_a_time_is_an_error_and_not_the_real_time(tmp_path: Path, text: str) -> None:
    (tmp_path / "now").write_text(text)
    with pytest.raises(ClockError, match="test clock"):
        clock(tmp_path / "now")()


def test_a_missing_file_is_an_error_and_not_the_real_time(tmp_path: Path) -> None:
    with pytest.raises(ClockError, match="test clock"):
        clock(tmp_path / "gone")()


def test_a_moment_is_cut_to_the_milliseconds_that_an_instant_shows() -> None:
    assert in_milliseconds(datetime(2024, 3, 1, 12, 0, 1, 999_999, UTC)) == datetime(2024, 3, 1, 12, 0, 1, 999_000, UTC)
