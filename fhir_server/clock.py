"""Now, as a value that is passed in: the real clock, or in tests the time written in a file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

Clock = Callable[[], datetime]


class ClockError(ValueError):
    """The file of the test clock cannot be read as a time."""


def clock(test_clock: Path | None = None) -> Clock:
    """Return a clock that tells aware UTC time; with a file, the ISO time that stands in it at each call.

    Settings refuse `test_clock` outside of tests. The clock raises ClockError when the file holds no time.
    """
    return _system if test_clock is None else lambda: _written(test_clock)


def in_milliseconds(moment: datetime) -> datetime:
    """Return the moment as a FHIR instant shows it, which is what is stored: a page boundary must compare equal."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _system() -> datetime:
    return datetime.now(UTC)


def _written(file: Path) -> datetime:
    try:
        told = datetime.fromisoformat(file.read_text(encoding="utf-8").strip())
    except (OSError, ValueError) as failure:
        raise ClockError(f"the test clock {file} cannot be read: {failure}") from failure
    return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)
