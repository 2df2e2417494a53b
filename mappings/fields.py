"""What a message is looked up by: the numbers of its patients and of its orders.

HL7 v2.5.1 chapters 3.4.2 (PID), 3.4.9 (MRG), 4.5.1 (ORC), 4.5.3 (OBR) and 10.6.3 (SCH)
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from mappings.hl7v2 import NULL, Message, Segment

# Of a message that names more, the rest is not looked up; and a longer number is no number.
MOST, _LONGEST = 64, 250
# Placer and filler numbers; of an appointment as well.
_ORDERS = {"ORC": (2, 3), "OBR": (2, 3), "SCH": (1, 2)}
# The survivor, and the one that a merge takes up.
_PATIENTS = {"PID": (3, 2), "MRG": (1,)}


class Fields(msgspec.Struct, frozen=True, omit_defaults=True):
    """`patients` are pairs of assigning authorities (namespace and universal id, each may be "") and number."""

    patients: tuple[tuple[str, str, str], ...] = ()
    orders: tuple[str, ...] = ()


def fields(message: Message) -> Fields:
    """Return the numbers of a message, in the order in which they stand there."""
    patients: dict[tuple[str, str, str], None] = {}
    orders: dict[str, None] = {}
    for segment in message.segments:
        if segment.id in _PATIENTS:
            patients.update(dict.fromkeys(_identifiers(segment)))
        elif segment.id in _ORDERS:
            orders.update(dict.fromkeys(filter(None, (_number(segment, n) for n in _ORDERS[segment.id]))))
    return Fields(tuple(patients)[:MOST], tuple(orders)[:MOST])


def _identifiers(segment: Segment) -> Iterator[tuple[str, str, str]]:
    for field in _PATIENTS[segment.id]:
        for n in range(1, len(segment.repetitions(field)) + 1):
            if number := _number(segment, field, n):
                yield _part(segment, field, n, 1), _part(segment, field, n, 2), number


def _number(segment: Segment, field: int, repetition: int = 1) -> str:
    found = _plain(segment.get(field, repetition))
    return "" if found == NULL or len(found) > _LONGEST else found


def _part(segment: Segment, field: int, repetition: int, subcomponent: int) -> str:
    return _plain(segment.get(field, repetition, 4, subcomponent))[:_LONGEST]


def _plain(text: str | None) -> str:
    """Return a value without what UTF-8 cannot say: bytes that did not decode."""
    return (text or "").encode("utf-8", "replace").decode().strip()
