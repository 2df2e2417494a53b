"""A channel as an integration engineer writes it: JSON, checked whole before it is saved.

HL7 v2.5.1 chapter 2.9 (whom a message is from, what may be refused by its MSH alone)
"""

from __future__ import annotations

import re
from typing import Literal
from zoneinfo import available_timezones

import msgspec

from conformance.issue import Issue
from fhir_server.errors import Invalid
from fhir_server.operations import destinations, queueing, sources, watching
from fhir_server.operations.destinations import AnyDestination
from fhir_server.operations.part import Part, wrong
from fhir_server.operations.polled import Fhir, Folder
from fhir_server.operations.queueing import ControlIds, Priority, Retention
from fhir_server.operations.sources import Mllp, Source
from fhir_server.operations.watching import Watch
from mappings.charset import codec_for

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_TYPE = re.compile(r"[A-Z][A-Z0-9]{2}(\^[A-Z][A-Z0-9]{2})?\Z")
_LONGEST_WAIT = 300.0
_VERSION = re.compile(r"2(\.\d+){0,2}\Z")


class Accepts(Part, frozen=True):
    """What the MSH must say; an empty list takes everything. `senders` are [MSH-3, MSH-4], `versions` beginnings."""

    senders: tuple[tuple[str, str], ...] = ()
    types: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    processing_ids: tuple[str, ...] = ()


class Profile(Part, frozen=True):
    """How the sender writes: see mappings.mapped.SenderProfile.

    `charset` and `fallback` as in MSH-18.
    """

    scope: str = ""
    zone: str = "UTC"
    systems: dict[str, str] = msgspec.field(default_factory=dict)
    code_systems: dict[str, str] = msgspec.field(default_factory=dict)
    charset: str = ""
    fallback: str = ""
    sniff: bool = True


class Tries(Part, frozen=True):
    """How often a message that fails for a passing reason is tried, and the seconds between."""

    attempts: int = 8
    base: float = 1.0
    most: float = 300.0


class Ack(Part, frozen=True):
    """When a message is acknowledged: once it is stored, or once it is processed, within so many seconds.

    `mode` says whether MSH-15 and MSH-16 decide on the acknowledgement, or every message gets one in original mode.
    `to` names the destination that takes the application acknowledgements of senders which ask for both.
    """

    mode: Literal["msh", "original"] = "msh"
    when: Literal["commit", "applied"] = "commit"
    seconds: float = 20.0
    to: str | None = None


class Definition(Part, frozen=True):
    """One channel: where its messages come from, which it takes, how they are written, how often each is tried, and
    where they are sent on to.
    """

    name: str
    source: Source = Mllp()
    accepts: Accepts = Accepts()
    ack: Ack = Ack()
    profile: Profile = Profile()
    retry: Tries | None = None
    watch: Watch = Watch()
    destinations: tuple[AnyDestination, ...] = ()
    priority: Priority = "normal"
    order: str = "patient"
    control_ids: ControlIds = "accept"
    retention: Retention = Retention()


def read(data: bytes) -> Definition:
    """Return the definition in JSON; raise Invalid that names every element that is wrong."""
    try:
        found = msgspec.json.decode(data, type=Definition)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise Invalid(f"the definition of the channel cannot be used: {problem}", "Channel") from problem
    if problems := _problems(found):
        raise Invalid(problems)
    return found


def write(definition: Definition) -> bytes:
    """Return the definition as JSON; what is as it would be by itself is left out."""
    return msgspec.json.encode(definition)


def _problems(given: Definition) -> list[Issue]:
    found = []
    if not NAME.match(given.name):
        found.append(wrong("name", f"{given.name[:80]!r}: 1 to 63 of a-z 0-9 . _ -, a letter or digit first"))
    found += sources.problems(given.source)
    found += watching.problems(given.watch)
    found += queueing.problems(given.order, given.retention)
    accepts = given.accepts
    found += [
        wrong("accepts.types", f"{t[:20]!r} is not like ORU or ORU^R01") for t in accepts.types if not _TYPE.match(t)
    ]
    found += [
        wrong("accepts.versions", f"{v[:20]!r} is not like 2.5") for v in accepts.versions if not _VERSION.match(v)
    ]
    if given.profile.zone and given.profile.zone not in available_timezones():
        found.append(wrong("profile.zone", f"{given.profile.zone[:80]!r} is no IANA time zone"))
    found += [
        wrong(f"profile.{name}", f"{said[:40]!r} is no character set as MSH-18 names it, such as 8859/1")
        for name, said in (("charset", given.profile.charset), ("fallback", given.profile.fallback))
        if said and codec_for(said) is None
    ]
    if given.retry and not (given.retry.attempts >= 1 and 0 < given.retry.base <= given.retry.most):
        found.append(wrong("retry", "attempts is 1 or more, base above 0 and most not below it"))
    if isinstance(given.source, Fhir) and given.accepts != Accepts():
        found.append(wrong("accepts", "what is taken from a FHIR server is said by its searches"))
    if isinstance(given.source, Fhir):
        found += [
            wrong(f"destinations[{n}].sends", "what was fetched is no message: only resources can be sent on")
            for n, one in enumerate(given.destinations)
            if one.sends != "resources"
        ]
    if given.ack.when == "applied" and isinstance(given.source, Folder | Fhir):
        found.append(wrong("ack.when", "nobody waits for the answer: applied is for senders over MLLP and HTTP"))
    if not 0 < given.ack.seconds <= _LONGEST_WAIT:
        found.append(wrong("ack.seconds", f"above 0 and at most {_LONGEST_WAIT:g}"))
    found += destinations.problems(given.destinations, given.ack.to)
    return found
