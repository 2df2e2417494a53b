"""What belongs together in a message: patients, their visits, their orders, and what was observed for each.

HL7 v2.5.1 chapter 3.3.1 (ADT), 7.3.1 (ORU). Real senders leave out ORC, repeat PID, and put comments anywhere: the
order of segments decides, never their mere presence.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mappings.hl7v2 import Message, Segment


@dataclass(slots=True)
class Noted:
    """A segment, its name in lineage (`OBX[3]`), and the comments behind it."""

    segment: Segment
    label: str
    notes: list[Noted] = field(default_factory=list)


@dataclass(slots=True)
class Order:
    """ORC and OBR, either of which may be missing, with results and specimens."""

    orc: Noted | None = None
    obr: Noted | None = None
    results: list[Noted] = field(default_factory=list)
    specimens: list[Noted] = field(default_factory=list)


@dataclass(slots=True)
class Visit:
    """PV1 and PV2."""

    pv1: Noted
    pv2: Noted | None = None


@dataclass(slots=True)
class Person:
    """PID and all that follows until the next PID."""

    pid: Noted
    pd1: Noted | None = None
    visit: Visit | None = None
    others: dict[str, list[Noted]] = field(default_factory=dict)
    results: list[Noted] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)


@dataclass(slots=True)
class Groups:
    """The patients of a message, and the segments that found no place."""

    people: list[Person] = field(default_factory=list)
    stray: list[Noted] = field(default_factory=list)


OTHERS = frozenset({"NK1", "AL1", "DG1", "IN1"})
_HEAD = frozenset({"MSH", "EVN", "SFT", "UAC"})


def group(message: Message) -> Groups:
    """Return the segments of a message, grouped."""
    walker = _Walker()
    for segment in message.segments:
        walker.take(segment)
    return walker.groups


class _Walker:
    def __init__(self) -> None:
        self.groups = Groups()
        self.counts: dict[str, int] = {}
        self.person: Person | None = None
        self.order: Order | None = None
        self.last: Noted | None = None

    def take(self, segment: Segment) -> None:
        name = segment.id
        count = self.counts[name] = self.counts.get(name, 0) + 1
        if name in _HEAD:
            return
        noted = Noted(segment, name if count == 1 else f"{name}[{count}]")
        if name == "PID":
            self.person, self.order = Person(noted), None
            self.groups.people.append(self.person)
        elif name == "NTE" and self.last:
            self.last.notes.append(noted)
            return
        elif self.person is None or not self.place(name, noted, self.person):
            self.groups.stray.append(noted)
            return
        self.last = noted

    def place(self, name: str, noted: Noted, person: Person) -> bool:
        """Put a segment where it belongs; False where nothing takes it."""
        if name in ("ORC", "OBR"):
            self.open_order(name, noted, person)
        elif name == "OBX":
            (self.order.results if self.order else person.results).append(noted)
        elif name == "SPM" and self.order:
            self.order.specimens.append(noted)
        elif name == "PD1":
            person.pd1 = person.pd1 or noted
        elif name == "PV1":
            person.visit = person.visit or Visit(noted)
        elif name == "PV2" and person.visit:
            person.visit.pv2 = person.visit.pv2 or noted
        elif name in OTHERS:
            person.others.setdefault(name, []).append(noted)
        else:
            return False
        return True

    def open_order(self, name: str, noted: Noted, person: Person) -> None:
        """ORC opens an order, and so does an OBR behind an OBR; an OBR behind its ORC completes it."""
        if name == "OBR" and self.order and self.order.obr is None:
            self.order.obr = noted
            return
        self.order = Order(orc=noted) if name == "ORC" else Order(obr=noted)
        person.orders.append(self.order)
