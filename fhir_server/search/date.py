"""Dates and times as intervals with the precision they are written in. http://hl7.org/fhir/R4/search.html#date

An interval is [lo, hi): 2024-03 is all of March. A date without a zone is taken as UTC, in resources and in searches
alike. A period without a start or an end reaches to BEGINNING or FOREVER.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import UNSET

BEGINNING = datetime.min.replace(tzinfo=UTC)
FOREVER = datetime.max.replace(tzinfo=UTC)
# Intervals up to this length are found by their start alone, give or take this much; longer ones stand apart.
LONGEST = timedelta(days=32)

Interval = tuple[datetime, datetime]

_SEARCHED = re.compile(
    r"\d{4}(?:-\d\d(?:-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)?)?)?)?\Z",
    re.ASCII,
)
_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)
# By number of digits of a second's fraction; PostgreSQL keeps six.
_FRACTIONS = [_SECOND, *(timedelta(microseconds=10 ** (6 - digits)) for digits in range(1, 7))]


def parse(text: str) -> Interval:
    """Return the interval of a date or dateTime in a search. Raises ValueError."""
    # A plus sign that was not percent-encoded in the URL arrives as a space.
    text = text.replace(" ", "+")
    if not _SEARCHED.match(text):
        raise ValueError("not a date such as 2024, 2024-03, 2024-03-05 or 2024-03-05T10:30:00Z")
    return interval(text)


def interval(text: str) -> Interval:
    """Return the interval of a date, dateTime or instant whose form is known to be right. Raises ValueError."""
    if len(text) > 10:
        return _moment(text)
    year = int(text[:4])
    if len(text) == 4:
        return datetime(year, 1, 1, tzinfo=UTC), _year_start(year + 1)
    month = int(text[5:7])
    if len(text) == 7:
        end = _year_start(year + 1) if month == 12 else datetime(year, month + 1, 1, tzinfo=UTC)
        return datetime(year, month, 1, tzinfo=UTC), end
    start = datetime(year, month, int(text[8:10]), tzinfo=UTC)
    return start, _plus(start, _DAY)


def _year_start(year: int) -> datetime:
    return FOREVER if year > FOREVER.year else datetime(year, 1, 1, tzinfo=UTC)


def _moment(text: str) -> Interval:
    if text[16:17] != ":":  # hours and minutes only, which searches may give
        start, width = _utc(text), _MINUTE
    elif text[17:19] == "60":
        start, _ = _moment(f"{text[:17]}59{text[19:]}")
        return _plus(start, _SECOND), _plus(_plus(start, _SECOND), _SECOND)
    else:
        start, width = _utc(text), _width(text)
    return start, _plus(start, width)


def _utc(text: str) -> datetime:
    """Return a moment in UTC; one that a zone carries over the edge of time stays at the edge."""
    moment = datetime.fromisoformat(text)
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        return BEGINNING if moment.year == BEGINNING.year else FOREVER


def _width(text: str) -> timedelta:
    if text[19:20] != ".":
        return _SECOND
    digits = 0
    for character in text[20:26]:
        if not character.isdigit():
            break
        digits += 1
    return _FRACTIONS[digits]


def _plus(start: datetime, width: timedelta) -> datetime:
    try:
        return start + width
    except OverflowError:
        return FOREVER


# ---- the index side ---------------------------------------------------------------------------------------------


def _date(value: str) -> list[Interval]:
    return [interval(value)]


def _period(value: Any) -> list[Interval]:
    start, end = value.start, value.end
    if start is UNSET and end is UNSET:
        return []
    return [(BEGINNING if start is UNSET else interval(start)[0], FOREVER if end is UNSET else interval(end)[1])]


def _timing(value: Any) -> list[Interval]:
    """Return the outer limits, all that search looks at: of the events and of the bounds of repetition."""
    events = [] if value.event is UNSET else [interval(event) for event in value.event if event is not None]
    if value.repeat is not UNSET and value.repeat.boundsPeriod is not UNSET:
        events += _period(value.repeat.boundsPeriod)
    return [(min(lo for lo, _ in events), max(hi for _, hi in events))] if events else []


def _none(value: Any) -> list[Interval]:
    return []


# By FHIR type: the intervals of a value. Ages, ranges of ages and free text tell of no date.
INTERVALS: dict[str, Callable[[Any], list[Interval]]] = {
    "date": _date,
    "dateTime": _date,
    "instant": _date,
    "Period": _period,
    "Timing": _timing,
    "Age": _none,
    "Range": _none,
    "string": _none,
}


# ---- the query side ---------------------------------------------------------------------------------------------


def approximate(low: datetime, high: datetime, now: datetime) -> Interval:
    """Return the interval widened for `ap`: by a tenth of the gap to `now` on either side, as R4 recommends."""
    gap = max(now - high, low - now, timedelta()) / 10
    try:
        return low - gap, high + gap
    except OverflowError:
        return (BEGINNING, high) if low < now else (low, FOREVER)
