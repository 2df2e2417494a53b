"""The stream that a simulated hospital sends: many people's messages, each person's in order, from one seed.

The same seed, start and options give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count
from random import Random

import msgspec

from fhir_server.simulator import segments
from fhir_server.simulator.life import TYPES, Step, life
from fhir_server.simulator.person import person
from fhir_server.simulator.segments import Writing


class Simulated(msgspec.Struct, frozen=True):
    """One message: `patient` is the number of its record, `type` like `ADT^A01`."""

    number: int
    control_id: str
    type: str
    patient: str
    data: bytes


def stream(
    start: datetime,
    *,
    seed: int = 1,
    patients: int = 100,
    types: Sequence[str] = TYPES,
    writing: Writing | None = None,
    between: timedelta = timedelta(seconds=1),
) -> Iterator[Simulated]:
    """Give messages without an end, each dated `between` after the one before it.

    `start` carries a zone. Raises ValueError for types that are none of ours, or where there are no patients.
    """
    if unknown := [name for name in types if name not in TYPES] or ([] if types else ["none"]):
        raise ValueError(f"no messages of type {', '.join(unknown)}; there are {', '.join(TYPES)}")
    if patients < 1:
        raise ValueError("a stream is of 1 patient or more")
    return _messages(start, seed, patients, frozenset(types), writing or Writing(), between)


def _messages(
    start: datetime, seed: int, patients: int, types: frozenset[str], writing: Writing, between: timedelta
) -> Iterator[Simulated]:
    random, numbers = Random(seed), _numbers(seed)
    lives: dict[int, Iterator[Step]] = {}
    for number in count(1):
        who = random.randrange(patients)
        if who not in lives:
            lives[who] = life(person(who), Random(f"{seed} {who}"), numbers)
        step = next(one for one in lives[who] if one.type in types)
        control_id, now = f"{tag(seed)}-{number}", start + between * (number - 1)
        text = [segments.msh(writing, now, step.event, control_id), *step.body(writing, now)]
        data = "".join(f"{line}\r" for line in text).encode()
        yield Simulated(number, control_id, f"{step.type}^{step.trigger}", person(who).mrn, data)


def tag(seed: int) -> str:
    """Return what marks the numbers of a run: of 36 signs, at most seven."""
    signs, rest = "", seed % 36**7
    while rest or not signs:
        rest, digit = divmod(rest, 36)
        signs = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[digit] + signs
    return signs


def _numbers(seed: int) -> Callable[[str], str]:
    given = count(1)
    return lambda prefix: f"{prefix}{tag(seed)}-{next(given)}"
