"""What people ask of messages, by which keys the store finds them, and what the audit tells of who saw them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from conformance.issue import Issue
from conformance.r4.types import TYPE_CODES
from fhir_server.context import Note
from fhir_server.errors import Invalid, NotFound
from fhir_server.search.hashing import Hasher
from fhir_server.search.text import fold
from fhir_server.store import messages
from fhir_server.store.database import Database
from fhir_server.store.message_search import Place, Wanted
from fhir_server.store.messages import State, Summary
from mappings.fields import Fields

_WORD = re.compile(r"\w+")
_MOST_WORDS = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_AGO = re.compile(r"(\d{1,6})([smhdw])\Z")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PLACE = re.compile(r"(?:(\d{1,17})-)?(\d{1,18})\Z")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A search as a person writes it; what is None or empty excludes nothing.

    `types` are like ORU or ORU^R01, `patient` is a number or AUTHORITY|NUMBER, `order` a placer's or filler's number,
    `sender` MSH-3 or MSH-3/MSH-4, `error` words of the reason, with codes and elements such as PID-7.
    """

    channels: Sequence[str] = ()
    states: Sequence[State] = ()
    types: Sequence[str] = ()
    sender: str | None = None
    patient: str | None = None
    order: str | None = None
    control_id: str | None = None
    error: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def wanted(asked: Asked, hasher: Hasher, tenant_id: int) -> Wanted:
    """Return what the store looks for: numbers and words only as their keys."""
    app, _, facility = (asked.sender or "").partition("/")
    return Wanted(
        keys=tuple(_asked_keys(asked, hasher, tenant_id)),
        channels=tuple(asked.channels),
        states=tuple(asked.states),
        types=tuple(asked.types),
        app=app or None,
        facility=facility or None,
        control_id=asked.control_id or None,
        since=asked.since,
        until=asked.until,
    )


def keys(fields: Fields, hasher: Hasher, tenant_id: int) -> list[int]:
    """Return the keys by which a message is found: of its patients, with and without authority, and of its orders."""
    numbers = [
        (name, number) for *names, number in fields.patients for name in dict.fromkeys((None, *filter(None, names)))
    ]
    found = [_patient(hasher, tenant_id, name, number) for name, number in numbers]
    return list(dict.fromkeys(found + [_order(hasher, tenant_id, number) for number in fields.orders]))


def error_keys(issues: Iterable[Issue], hasher: Hasher, tenant_id: int) -> list[int]:
    """Return the keys of the words of a reason: its texts, codes and elements."""
    words = dict.fromkeys(word for one in issues for part in _parts(one) for word in _words(part))
    return [_word(hasher, tenant_id, word) for word in list(words)[:_MOST_WORDS]]


def _asked_keys(asked: Asked, hasher: Hasher, tenant_id: int) -> Iterator[int]:
    if asked.order:
        yield _order(hasher, tenant_id, asked.order.strip())
    if asked.patient:
        name, _, number = asked.patient.rpartition("|")
        yield _patient(hasher, tenant_id, name.strip() or None, number.strip())
    for word in dict.fromkeys(_words(asked.error or "")):
        yield _word(hasher, tenant_id, word)


def _parts(issue: Issue) -> Iterator[str]:
    yield issue.diagnostics
    yield issue.code
    yield from issue.expression


def _words(text: str) -> list[str]:
    return _WORD.findall(fold(text))


def _patient(hasher: Hasher, tenant_id: int, authority: str | None, number: str) -> int:
    return hasher.token(tenant_id, "Message", "patient", authority, number)


def _order(hasher: Hasher, tenant_id: int, number: str) -> int:
    return hasher.token(tenant_id, "Message", "number", None, number)


def _word(hasher: Hasher, tenant_id: int, word: str) -> int:
    return hasher.token(tenant_id, "Message", "error", None, word)


def token(place: Place) -> str:
    """Return what stands in an address for the place where a page goes on."""
    return f"{(place.received - _EPOCH) // _MICROSECOND}-{place.id}"


async def place(db: Database, tenant_id: int, text: str) -> Place:
    """Return the place of a token, or behind the message of a number. Raises Invalid, NotFound."""
    found = _PLACE.match(text)
    if not found:
        raise Invalid("before: the number of a message, or what a page gave as the next one")
    micros, number = found.groups()
    if micros:
        return Place(_EPOCH + int(micros) * _MICROSECOND, int(number))
    moment = await messages.received_of(db, tenant_id, int(number))
    if moment is None:
        raise NotFound(f"there is no message {number}")
    return Place(moment, int(number))


def moment(text: str, now: datetime) -> datetime:
    """Return the moment that a person writes: in ISO 8601, of UTC where it names no zone, or so long ago: 30m, 2h, 7d.

    Raises ValueError.
    """
    if ago := _AGO.match(text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    found = in_utc(datetime.fromisoformat(text))
    assert found is not None
    return found


def in_utc(given: datetime | None) -> datetime | None:
    """Return a moment with a zone."""
    return given.replace(tzinfo=UTC) if given is not None and given.tzinfo is None else given


def seen(action: str, shown: Sequence[Summary], hasher: Hasher, tenant_id: int) -> list[Note]:
    """Return what the audit tells of messages that were shown: once for each patient, and once for those of nobody."""
    of: dict[int | None, list[int]] = {}
    for one in shown:
        for patient in _patients(one, hasher, tenant_id) or (None,):
            of.setdefault(patient, []).append(one.id)
    return [
        Note(action, 200, TYPE_CODES["Patient"] if patient else None, patient=patient, detail={"messages": ids})
        for patient, ids in of.items()
    ]


def _patients(one: Summary, hasher: Hasher, tenant_id: int) -> list[int]:
    """Return the keys of the Patients that a message became."""
    names = [name for names in (one.result or {}).values() for name in names if name.startswith("Patient/")]
    return [hasher.self_key(tenant_id, "Patient", name.split("/")[1]) for name in dict.fromkeys(names)]
