"""What the page of a clinic's channels shows, as values: bars, ages and counts of a day, nothing of a patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby

import msgspec

from fhir_server.operations.definition import Definition
from fhir_server.operations.notices import says
from fhir_server.operations.watching import DAYS, Silence, Watch
from fhir_server.store.alerts import Alert
from fhir_server.store.channels import ChannelState
from fhir_server.store.figures import CAME, EVER, Counted, Waiting

DAY = timedelta(hours=24)
BAR = timedelta(minutes=15)
BARS = DAY // BAR
_TALL = 40.0  # height of a picture, in units of its own
_FAILED = ("buried", "rejected", "unstored")
_GOOD = ("done",)


class Rect(msgspec.Struct, frozen=True):
    """A part of a picture."""

    kind: str
    x: int
    y: float
    height: float


class Picture(msgspec.Struct, frozen=True):
    """A day in quarters of an hour: `most` is what the tallest bar stands for, `says` what a picture cannot."""

    rects: list[Rect]
    most: str
    says: str


class ChannelCard(msgspec.Struct, frozen=True):
    """A channel: what it did within a day, what waits, when its sender was last heard and when it must be."""

    name: str
    state: ChannelState | None
    rate: Picture
    queue: Picture
    waiting: int
    oldest: str
    last: str
    expected: str
    errors: list[tuple[str, int]]
    done: int
    failed: int


class AlertCard(msgspec.Struct, frozen=True):
    """An alert that stands."""

    id: int
    channel: str
    kind: str
    text: str
    first: datetime
    last: datetime
    by: str | None


def alert_card(alert: Alert) -> AlertCard:
    """Return an alert as it is shown."""
    said = says(alert.kind, alert.detail, alert.count)
    return AlertCard(alert.id, alert.channel, alert.kind, said, alert.first, alert.last, alert.acknowledged_by)


def cards(
    now: datetime,
    known: Mapping[str, tuple[ChannelState, Definition | None]],
    counts: Sequence[Counted],
    waiting: Mapping[str, Waiting],
) -> list[ChannelCard]:
    """Return a card for each channel that is known or was counted, by name."""
    ordered = sorted(counts, key=lambda one: one.channel)
    mine = {name: list(found) for name, found in groupby(ordered, lambda one: one.channel)}
    names = sorted({*known, *mine, *waiting})
    return [_card(now, name, known.get(name), mine.get(name, []), waiting.get(name)) for name in names]


def _card(
    now: datetime,
    name: str,
    known: tuple[ChannelState, Definition | None] | None,
    counts: Sequence[Counted],
    waits: Waiting | None,
) -> ChannelCard:
    state, given = known or (None, None)
    day = [one for one in counts if one.slot != EVER and one.slot > now - DAY]
    came = [one.last for one in counts if one.what in CAME and one.slot == EVER]
    errors: Counter[str] = Counter()
    for one in day:
        kind, _, class_ = one.what.partition(":")
        if kind == "error":
            errors[class_] += one.number
    done, failed = (sum(one.number for one in day if one.what in kinds) for kinds in (_GOOD, _FAILED))
    return ChannelCard(
        name, state, _rate(now, day), _queue(now, day), waits.count if waits else 0,
        span(now - waits.oldest) if waits else "–", f"{span(now - max(came))} ago" if came else "never",
        _expected(given), errors.most_common(), done, failed,
    )  # fmt: skip


def _rate(now: datetime, day: Sequence[Counted]) -> Picture:
    good, bad = (_bars(now, day, kinds, sum) for kinds in (_GOOD, _FAILED))
    most = max((a + b for a, b in zip(good, bad, strict=True)), default=0)
    rects = []
    for x, (done, failed) in enumerate(zip(good, bad, strict=True)):
        top = _TALL - _height(done + failed, most)
        if failed:
            rects.append(Rect("buried", x, top, _height(failed, most)))
        if done:
            rects.append(Rect("done", x, _TALL - _height(done, most), _height(done, most)))
    said = f"{sum(good)} messages done and {sum(bad)} failed in 24 hours, at most {most} in a quarter of an hour"
    return Picture(rects, f"{most} in 15 min", said)


def _queue(now: datetime, day: Sequence[Counted]) -> Picture:
    ages = _bars(now, day, ("oldest",), max)
    most = max(ages, default=0)
    rects = [Rect("received", x, _TALL - _height(age, most), _height(age, most)) for x, age in enumerate(ages) if age]
    longest = span(timedelta(seconds=most))
    return Picture(rects, longest, f"the oldest waiting message was at most {longest} old in 24 hours")


def _bars(
    now: datetime, day: Sequence[Counted], kinds: Sequence[str], together: Callable[[list[int]], int]
) -> list[int]:
    found: list[list[int]] = [[0] for _ in range(BARS)]
    end = EVER + (now - EVER) // BAR * BAR + BAR
    for one in day:
        place = BARS - 1 - (end - one.slot - timedelta(microseconds=1)) // BAR
        if one.what in kinds and 0 <= place < BARS:
            found[place].append(one.number)
    return [together(numbers) for numbers in found]


def _height(number: int, most: int) -> float:
    return round(max(1.0, _TALL * number / most), 2) if number else 0.0


def span(time: timedelta) -> str:
    """Return a span of time in the unit that fits it.

    >>> [span(timedelta(seconds=s)) for s in (5, 600, 7300, 400_000)]
    ['5 s', '10 min', '2 h', '4 days']
    """
    seconds = max(0, int(time.total_seconds()))
    for size, unit in ((172_800, "days"), (7200, "h"), (120, "min")):
        if seconds >= size:
            return f"{seconds // {'days': 86_400, 'h': 3600, 'min': 60}[unit]} {unit}"
    return f"{seconds} s"


def _expected(given: Definition | None) -> str:
    watch = given.watch if given else Watch()
    return "; ".join(map(_rule, watch.silence)) or "not watched"


def _rule(rule: Silence) -> str:
    days = "every day" if set(rule.days) == set(DAYS) else " ".join(day for day in DAYS if day in rule.days)
    hours = "" if (rule.from_, rule.to) == ("00:00", "24:00") else f" {rule.from_}–{rule.to}"
    return f"every {rule.minutes} min, {days}{hours}"
