"""What is expected of a channel: when its sender must be heard, how long a message may wait, how many may fail."""

from __future__ import annotations

import re
from datetime import date
from typing import Literal
from zoneinfo import available_timezones

import msgspec

from conformance.issue import Issue
from fhir_server.operations.part import Part, wrong

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EMAIL = re.compile(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\Z")
_HOUR = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d\Z|24:00\Z")
_LONGEST = 7 * 24 * 60  # minutes


class Silence(Part, frozen=True):
    """Nothing for `minutes` of the hours from `from` to `to` on `days` is too long; `to` may be on the next day."""

    minutes: int
    days: tuple[Day, ...] = DAYS
    from_: str = msgspec.field(name="from", default="00:00")
    to: str = "24:00"


class Watch(Part, frozen=True):
    """What is watched of a channel; what is not said is not watched.

    `zone` is that of the hours, by itself the profile's; on `holidays` (YYYY-MM-DD) nothing is expected.
    `queue_minutes` is how long a message may wait; `buried` how many may be buried, `error_percent` which share may
    fail (of `least` and more) within so many minutes; `held` how many deliveries may be held or fail in that time.
    `destinations`: a destination that is spared or stopped is told. `emails` are told beside the clinic's recipients.
    """

    silence: tuple[Silence, ...] = ()
    zone: str = ""
    holidays: tuple[str, ...] = ()
    queue_minutes: int | None = None
    buried: int | None = None
    error_percent: float | None = None
    held: int | None = None
    destinations: bool = False
    within: int = 60
    least: int = 20
    emails: tuple[str, ...] = ()


def problems(watch: Watch) -> list[Issue]:
    """Return what is wrong with a watch."""
    found = [issue for n, rule in enumerate(watch.silence) for issue in _of_rule(f"watch.silence[{n}]", rule)]
    if watch.zone and watch.zone not in available_timezones():
        found.append(wrong("watch.zone", f"{watch.zone[:80]!r} is no IANA time zone"))
    found += [wrong("watch.holidays", f"{h[:20]!r} is no date like 2026-12-25") for h in watch.holidays if not _date(h)]
    found += [wrong("watch.emails", f"{e[:80]!r} is no e-mail address") for e in watch.emails if not EMAIL.match(e)]
    for name, least, most in (
        ("queue_minutes", 1, _LONGEST), ("buried", 1, 10**9), ("held", 1, 10**9),
        ("within", 5, 7 * 24 * 60), ("least", 1, 10**9)
    ):  # fmt: skip
        value = getattr(watch, name)
        if value is not None and not least <= value <= most:
            found.append(wrong(f"watch.{name}", f"{least} to {most}"))
    if watch.error_percent is not None and not 0 < watch.error_percent <= 100:
        found.append(wrong("watch.error_percent", "above 0 and at most 100"))
    return found


def _of_rule(path: str, rule: Silence) -> list[Issue]:
    found = []
    if not 1 <= rule.minutes <= _LONGEST:
        found.append(wrong(f"{path}.minutes", f"1 to {_LONGEST}"))
    if not rule.days:
        found.append(wrong(f"{path}.days", f"one or more of {' '.join(DAYS)}"))
    for name, text in (("from", rule.from_), ("to", rule.to)):
        if not _HOUR.match(text) or (name == "from" and text == "24:00"):
            found.append(wrong(f"{path}.{name}", f"{text[:20]!r} is no time like 08:00"))
    return found


def _date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
