"""HL7 times to FHIR: precision and offset as sent; a time without a zone takes the message's or the sender's.

HL7 v2.5.1 chapter 2.A.22 (DTM), 2.A.77 (TS); https://hl7.org/fhir/R4/datatypes.html#dateTime
Zone, in this order: the field's own offset; the sender's IANA zone where it agrees with MSH-7's offset (it knows
summer time, an offset does not); MSH-7's offset; the sender's zone. Never the server's. Where clocks go back, an
ambiguous time is the first of the two; where they go forward, a time that never was keeps the offset from before.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

_DTM = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(\.\d{1,9})?)?)?)?)?)?(?:([+-])(\d\d):?(\d\d))?\Z",
    re.ASCII,
)
_TIME = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(\.\d{1,9})?)?)?(?:[+-]\d{4})?\Z", re.ASCII)
_LARGEST_OFFSET = timedelta(hours=14)


class Clock:
    """Reads the times of one message."""

    __slots__ = ("zone",)

    def __init__(self, zone: str, message_time: str) -> None:
        """`zone` is an IANA name or ""; `message_time` is MSH-7. An unknown zone raises ZoneInfoNotFoundError."""
        self.zone = _zone(zone, message_time)

    def date_time(self, text: str) -> str | None:
        """Return a dateTime with the precision of `text`; None where it is no time or no real one.

        Seconds that were not sent are 00, as FHIR asks for them; without any zone the time of day is left out.
        """
        found = _DTM.match(text)
        if not found:
            return None
        year, month, day, hour = found.group(1, 2, 3, 4)
        if hour is None or not _is_date(year, month, day):
            return _date(year, month, day)
        return self._with_time(found)

    def instant(self, text: str) -> str | None:
        """Return an instant, or None where `text` does not say the time of day or the zone is unknown."""
        value = self.date_time(text)
        return value if value and "T" in value else None

    def _with_time(self, found: re.Match[str]) -> str | None:
        hour, minute, second, fraction = found[4], found[5] or "00", found[6] or "00", found[7] or ""
        if hour > "23" or minute > "59" or second > "59":
            return None
        year, month, day = found.group(1, 2, 3)
        offset = self._offset(found)
        if offset is None:
            return f"{year}-{month}-{day}"
        return f"{year}-{month}-{day}T{hour}:{minute}:{second}{fraction}{offset}"

    def _offset(self, found: re.Match[str]) -> str | None:
        sign, hours, minutes = found.group(8, 9, 10)
        if sign and _offset_fits(int(hours), int(minutes)):
            return f"{sign}{hours}:{minutes}"
        if self.zone is None:
            return None
        local = datetime(*(int(part or 0) for part in found.group(1, 2, 3, 4, 5, 6)), tzinfo=self.zone)  # type: ignore[misc, arg-type]
        shown = f"{local:%z}"
        return f"{shown[:3]}:{shown[3:5]}"


def a_date(text: str) -> str | None:
    """Return the date in an HL7 date or time, with the precision of `text`; None where it is none."""
    found = _DTM.match(text)
    return _date(*found.group(1, 2, 3)) if found else None


def a_time(text: str) -> str | None:
    """Return an HL7 TM as a FHIR time; seconds that were not sent are 00; an offset has no room in FHIR's time."""
    found = _TIME.match(text)
    if not found:
        return None
    hour, minute, second, fraction = found[1], found[2] or "00", found[3] or "00", found[4] or ""
    return None if hour > "23" or minute > "59" or second > "59" else f"{hour}:{minute}:{second}{fraction}"


def moment(text: str) -> datetime | None:
    """Return the first instant of a FHIR date or dateTime, to compare by; None where it is none."""
    found = re.match(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(T.*)?)?)?\Z", text)
    if not found:
        return None
    whole = f"{found[1]}-{found[2] or '01'}-{found[3] or '01'}{found[4] or 'T00:00:00+00:00'}"
    try:
        value = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", whole))
    except ValueError:
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _zone(name: str, message_time: str) -> tzinfo | None:
    sender = ZoneInfo(name) if name else None
    found = _DTM.match(message_time)
    if not found or not found[8] or not _offset_fits(int(found[9]), int(found[10])):
        return sender
    offset = timedelta(hours=int(found[9]), minutes=int(found[10])) * (-1 if found[8] == "-" else 1)
    if sender and found[4] and _is_date(*found.group(1, 2, 3)) and found[4] <= "23":
        local = datetime(int(found[1]), int(found[2]), int(found[3]), int(found[4]), tzinfo=sender)
        if local.utcoffset() == offset:
            return sender
    return timezone(offset)


def _offset_fits(hours: int, minutes: int) -> bool:
    return minutes < 60 and timedelta(hours=hours, minutes=minutes) <= _LARGEST_OFFSET


def _date(year: str, month: str | None, day: str | None) -> str | None:
    if not _is_date(year, month, day):
        return None
    return "-".join(part for part in (year, month, day) if part)


def _is_date(year: str, month: str | None, day: str | None) -> bool:
    try:
        date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return False
    return True
