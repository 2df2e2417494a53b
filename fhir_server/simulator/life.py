"""What happens to a simulated person, one message after the other: booked or admitted, ordered, measured, sent home.

HL7 v2.5.1 chapters 3 (ADT), 4 (ORM), 6 (DFT), 7 (ORU), 9 (MDM) and 10 (SIU)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import NamedTuple

from fhir_server.simulator import invented, segments
from fhir_server.simulator.panels import PANELS
from fhir_server.simulator.person import Person
from fhir_server.simulator.segments import Writing, row

Body = Callable[[Writing, datetime], list[str]]
# Gives a number that no other of this run has.
Numbers = Callable[[str], str]
STRUCTURES = {
    ("ADT", "A01"): "ADT_A01", ("ADT", "A02"): "ADT_A02", ("ADT", "A03"): "ADT_A03", ("ADT", "A04"): "ADT_A01",
    ("ADT", "A08"): "ADT_A01", ("ORM", "O01"): "ORM_O01", ("ORU", "R01"): "ORU_R01", ("SIU", "S12"): "SIU_S12",
    ("SIU", "S13"): "SIU_S12", ("SIU", "S15"): "SIU_S12", ("MDM", "T02"): "MDM_T02", ("DFT", "P03"): "DFT_P03",
}  # fmt: skip
TYPES = ("ADT", "ORU", "ORM", "SIU", "MDM", "DFT")
_FAR = 0.12  # of its range: how far beyond it a value may lie


class Step(NamedTuple):
    """The next message of a person: `body` gives the segments after the MSH."""

    type: str
    trigger: str
    body: Body

    @property
    def event(self) -> tuple[str, str, str]:
        """Return MSH-9."""
        return self.type, self.trigger, STRUCTURES[self.type, self.trigger]


class Visit:
    """One stay: what all of its messages have in common."""

    def __init__(self, person: Person, random: Random, numbers: Numbers, *, stays: bool) -> None:
        self.person, self.random, self.numbers = person, random, numbers
        self.number = numbers("V")
        self.doctor = random.randrange(len(invented.PHYSICIANS))
        self.problem = random.choice(invented.PROBLEMS)
        self.stays = stays
        self.place = self.bed() if stays else f"{random.choice(invented.CLINICS)}^^^SIM"
        self.began: datetime | None = None

    def bed(self) -> str:
        """Return a bed of a ward."""
        ward, beds = self.random.choice(invented.WARDS)
        return f"{ward}^{self.random.randrange(1, beds + 1):02d}^{self.random.choice('AB')}^SIM"

    def head(self, writing: Writing, now: datetime, ended: bool = False) -> list[str]:
        """Return PID and PV1. The visit begins with the first message that tells of it."""
        self.began = self.began or now
        ends = writing.time(now) if ended else ""
        class_ = "I" if self.stays else "O"
        visit = segments.pv1(class_, self.place, self.doctor, self.number, writing.time(self.began), ends)
        return [segments.pid(self.person), visit]

    def told(self, trigger: str, writing: Writing, now: datetime) -> list[str]:
        """Return an ADT."""
        first = [segments.evn(writing, now, trigger), *self.head(writing, now, ended=trigger == "A03")]
        if trigger not in ("A01", "A04", "A08"):
            return first
        code, text = self.problem
        allergies = [row("AL1", "1", "DA", "^".join((*found, "RXNORM")))] if (found := self._allergy()) else []
        return [*first, *allergies, row("DG1", "1", "", f"{code}^{text}^I10", "", writing.time(now), "A")]

    def moved(self, writing: Writing, now: datetime) -> list[str]:
        """Return an A02: from now on the person lies elsewhere."""
        self.place = self.bed()
        return self.told("A02", writing, now)

    def letter(self, writing: Writing, now: datetime) -> list[str]:
        """Return an MDM^T02 with its text."""
        at, number = writing.time(now), self.numbers("D")
        author = segments.physician(self.doctor)
        txa = row("TXA", "1", "DS", "TX", at, author, at, *[""] * 5, f"{number}^SIM", *[""] * 4, "AU")
        said = segments.lines("18842-5^Discharge summary^LN", invented.LETTER, at)
        return [segments.evn(writing, now, "T02"), *self.head(writing, now), txa, *said]

    def charged(self, writing: Writing, now: datetime) -> list[str]:
        """Return a DFT^P03 with one charge."""
        code, text, price = self.random.choice(invented.CHARGES)
        at = writing.time(now)
        ft1 = row("FT1", "1", self.numbers("T"), "", at, at, "CG", f"{code}^{text}^C4", "", "", "1", f"{price}&USD")
        return [segments.evn(writing, now, "P03"), *self.head(writing, now), ft1]

    def booked(self, trigger: str, number: str, moments: list[datetime], writing: Writing, now: datetime) -> list[str]:
        """Return an SIU: booked, moved to another time, or cancelled."""
        if not moments or trigger == "S13":
            days, quarters = self.random.randrange(1, 14), self.random.randrange(32)
            day = (now + timedelta(days=days)).replace(hour=8, minute=0, second=0, microsecond=0)
            moments[:] = [day + timedelta(minutes=15 * quarters)]
        code, text, minutes = self.random.choice(invented.VISIT_TYPES)
        begins, until = (writing.time(m) for m in (moments[0], moments[0] + timedelta(minutes=minutes)))
        status = "Cancelled" if trigger == "S15" else "Booked"
        why = {"S12": "BOOKED^Booked", "S13": "MOVED^Moved to another time", "S15": "CANCELLED^Cancelled"}[trigger]
        doctor = segments.physician(self.doctor)
        sch = row(
            "SCH", f"{number}^SIM", f"{number}^SIM", *[""] * 3, f"{why}^99SIM", f"{code}^{text}^99SIM", "", "", "",
            f"^^^{begins}^{until}", *[""] * 4, doctor, *[""] * 3, doctor, *[""] * 4, f"{status}^{status}^HL70278",
        )  # fmt: skip
        service = row("AIS", "1", "A", f"{code}^{text}^99SIM", begins, "", "", str(minutes), "min^minutes^UCUM")
        return [sch, segments.pid(self.person), row("RGS", "1", "A"), service, row("AIP", "1", "A", doctor)]

    def _allergy(self) -> tuple[str, str] | None:
        choice = self.person.number % (2 * len(invented.ALLERGIES))
        return invented.ALLERGIES[choice] if choice < len(invented.ALLERGIES) else None


class Order:
    """A panel that is ordered and reported: first in part, then whole, at times corrected."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.panel = visit.random.choice(PANELS)
        self.placer, self.filler = visit.numbers("P"), visit.numbers("F")
        self.values = [self._value(one.code, one.high - one.low, one.low) for one in self.panel.analytes]
        self.taken: datetime | None = None

    def ordered(self, writing: Writing, now: datetime) -> list[str]:
        """Return an ORM^O01."""
        self.taken = self.taken or now
        at, doctor = writing.time(now), self.visit.doctor
        return [
            *self.visit.head(writing, now),
            segments.orc("NW", self.placer, "", "", at, doctor),
            segments.obr(1, self.placer, "", self.panel, writing.time(self.taken), doctor, "", ""),
        ]

    def reported(self, status: str, writing: Writing, now: datetime) -> list[str]:
        """Return an ORU^R01; one that is preliminary (P) knows half of the values."""
        self.taken = self.taken or now - timedelta(minutes=40)
        taken, doctor = writing.time(self.taken), self.visit.doctor
        if status == "C":
            self.values[0] = self._value(self.panel.analytes[0].code, 0.0, self.values[0])
        known = list(zip(self.panel.analytes, self.values, strict=True))
        known = known[: (len(known) + 1) // 2] if status == "P" else known
        return [
            *self.visit.head(writing, now),
            segments.orc("RE", self.placer, self.filler, "IP" if status == "P" else "CM", taken, doctor),
            segments.obr(1, self.placer, self.filler, self.panel, taken, doctor, writing.time(now), status),
            *(segments.obx(n, one, value, status, taken) for n, (one, value) in enumerate(known, start=1)),
        ]

    def _value(self, code: str, width: float, low: float) -> float:
        """Return a value: near what this person always has, and seldom outside the range."""
        usual = Random(f"{code} {self.visit.person.number}").random()
        share = usual + self.visit.random.gauss(0, _FAR)
        return max(low * 0.5, low + width * share) if width else low * (1 + self.visit.random.gauss(0, _FAR / 4))


def life(person: Person, random: Random, numbers: Numbers) -> Iterator[Step]:
    """Give the messages of a person, visit after visit, without an end."""
    while True:
        yield from (_stay if random.random() < 0.5 else _consultation)(person, random, numbers)


def _stay(person: Person, random: Random, numbers: Numbers) -> Iterator[Step]:
    visit = Visit(person, random, numbers, stays=True)
    yield Step("ADT", "A01", partial(visit.told, "A01"))
    for _ in range(random.randrange(1, 3)):
        yield from _examination(visit)
        if random.random() < 0.3:
            yield Step("ADT", "A02", visit.moved)
    yield Step("ADT", "A08", partial(visit.told, "A08"))
    yield Step("MDM", "T02", visit.letter)
    yield Step("DFT", "P03", visit.charged)
    yield Step("ADT", "A03", partial(visit.told, "A03"))


def _consultation(person: Person, random: Random, numbers: Numbers) -> Iterator[Step]:
    visit = Visit(person, random, numbers, stays=False)
    number, moments = numbers("A"), list[datetime]()
    yield Step("SIU", "S12", partial(visit.booked, "S12", number, moments))
    if random.random() < 0.2:
        yield Step("SIU", "S13", partial(visit.booked, "S13", number, moments))
    if random.random() < 0.1:
        yield Step("SIU", "S15", partial(visit.booked, "S15", number, moments))
        return
    yield Step("ADT", "A04", partial(visit.told, "A04"))
    yield from _examination(visit)
    if random.random() < 0.4:
        yield Step("MDM", "T02", visit.letter)
    yield Step("DFT", "P03", visit.charged)
    yield Step("ADT", "A03", partial(visit.told, "A03"))


def _examination(visit: Visit) -> Iterator[Step]:
    order = Order(visit)
    yield Step("ORM", "O01", order.ordered)
    if visit.random.random() < 0.4:
        yield Step("ORU", "R01", partial(order.reported, "P"))
    yield Step("ORU", "R01", partial(order.reported, "F"))
    if visit.random.random() < 0.1:
        yield Step("ORU", "R01", partial(order.reported, "C"))
