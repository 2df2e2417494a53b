"""How long a sender was silent while it was expected: hours of a clock on the wall, in the zone of the channel.

Only expected time counts. A laboratory that sent its last result on Friday at 17:59 has been silent for half an hour on
Monday at 8:29, where it is expected from 8 to 18 on weekdays. Where clocks are changed, an hour is an hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from fhir_server.operations.watching import DAYS, Silence, Watch

_FAR = timedelta(days=62)  # how far back is looked: more than twice the longest that a rule can ask for


def too_long(watch: Watch, zone: str, since: datetime, now: datetime) -> tuple[int, int] | None:
    """Return for how many minutes nothing came, and how many are allowed; None while no rule is broken.

    `zone` is the channel's where the watch names none. Minutes are those in which something was expected.
    """
    place = ZoneInfo(watch.zone or zone or "UTC")
    for rule in watch.silence:
        silent = expected(rule, place, frozenset(watch.holidays), since, now)
        if silent >= timedelta(minutes=rule.minutes):
            return int(silent / timedelta(minutes=1)), rule.minutes
    return None


def expected(rule: Silence, zone: ZoneInfo, holidays: frozenset[str], since: datetime, now: datetime) -> timedelta:
    """Return how much of the time from `since` to `now` lies in the hours of a rule."""
    since = max(since, now - _FAR)
    spans = _spans(rule, zone, holidays, since, now)
    return sum((min(end, now) - max(begin, since) for begin, end in spans if end > since and begin < now), timedelta())


def _spans(
    rule: Silence, zone: ZoneInfo, holidays: frozenset[str], since: datetime, now: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Give the hours of each day as moments; hours over midnight belong to the day on which they begin."""
    day, last = since.astimezone(zone).date() - timedelta(days=1), now.astimezone(zone).date()
    until = time() if rule.to == "24:00" else time.fromisoformat(rule.to)
    begins = time.fromisoformat(rule.from_)
    while day <= last:
        if DAYS[day.weekday()] in rule.days and day.isoformat() not in holidays:
            ends = day if until > begins else day + timedelta(days=1)
            yield _moment(day, begins, zone), _moment(ends, until, zone)
        day += timedelta(days=1)


def _moment(day: date, hour: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, hour, zone).astimezone(UTC)
