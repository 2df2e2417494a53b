"""What is measured. A case makes one call; its data is made beforehand, so that only the call is counted."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tests.benchmarks import made
from tests.benchmarks.client import Answer, Http
from tests.benchmarks.made import LOINC, MRN, UCUM

Call = Callable[[Http], Awaitable[None]]


class Failed(Exception):
    """A call was not answered as it must be: its cost would mean nothing."""


class Case(NamedTuple):
    """Lines of the table: the call, our bar in CPU ms, how often at scale 1 and at least, by how many clients."""

    name: str
    call: Call
    bar: float | None = None
    count: int = 2000
    least: int = 20
    clients: tuple[int, ...] = (1, 16)

    def times(self, scale: float) -> int:
        """Return how often it is called."""
        return max(self.least, int(self.count * scale))


def _must(answer: Answer, *allowed: int) -> Answer:
    if answer.status not in allowed:
        raise Failed(f"{answer.status}: {answer.body[:300]!r}")
    return answer


class Cases:
    """The cases on a server that has so many invented patients; every draw is seeded, so runs are alike."""

    def __init__(self, base: str, patients: int) -> None:
        self.base, self.patients = base, patients
        self.random = random.Random(7)
        self.numbers = made.numbers()

    def all(self) -> list[Case]:
        """Return the cases, those that add most at the end."""
        return [*self.reads(), *self.searches(), *self.writes()]

    def reads(self) -> list[Case]:
        """Return reads."""
        return [Case("read by id", self._get(lambda n: f"Patient/p{n}"), 0.30)]

    def searches(self) -> list[Case]:
        """Return searches: what is expected to be found is found, or the case fails."""
        subject, quantity = "subject=Patient/p{n}", f"code-value-quantity={LOINC}|{{code}}${{value}}|{UCUM}|mg/dL"
        return [
            self._search("Patient?identifier= 1 hit", f"Patient?identifier={MRN}|{{mrn}}", 1, 0.6),
            self._search("Patient?name= 20 hits", "Patient?name={given}&_count=20", 1, 1.0),
            self._search("Patient?name= rare", "Patient?name={family}", 1, 1.0),
            self._search("Observation?subject= 8 hits", f"Observation?{subject}", 8, 0.7),
            self._search("Observation?subject=&code=", f"Observation?{subject}&code={LOINC}|{{code}}", 2, 0.7),
            self._search("Observation?status=&code= dense", f"Observation?status=final&code={LOINC}|{{code}}", 20, 1.0),
            self._search("Observation?patient.identifier=", f"Observation?patient.identifier={MRN}|{{mrn}}", 8, 1.0),
            self._search(
                "Patient?identifier=&_has:Observation:patient:code=",
                f"Patient?identifier={MRN}|{{mrn}}&_has:Observation:patient:code={LOINC}|{{code}}",
                1,
                1.5,
            ),
            self._search("Observation?subject=&_sort=-date", f"Observation?{subject}&_sort=-date", 8, 1.0),
            self._search("Observation?code=&_sort=-date", f"Observation?code={LOINC}|{{code}}&_sort=-date", 20, 1.0),
            self._search("Patient?_sort=family", "Patient?_sort=family", 20, 1.0),
            self._search(
                "Observation?subject=&_include=", f"Observation?{subject}&_include=Observation:subject", 9, 1.2
            ),
            self._search(
                "Patient?identifier=&_revinclude=",
                f"Patient?identifier={MRN}|{{mrn}}&_revinclude=Observation:subject",
                9,
                1.2,
            ),
            self._search("Observation?code-value-quantity=", f"Observation?{quantity}", 1, 1.2),
            self._search("Observation?date= a day", "Observation?date={day}", 1, 1.2),
        ]

    def writes(self) -> list[Case]:
        """Return what writes."""
        return [
            Case("create Patient", self._create, 1.5),
            Case("create Patient if none exists: there is", self._create_known, 1.0),
            Case("create Patient if none exists: there is none", self._create_unknown, 1.7),
            Case("update Patient", self._update, 1.7),
            Case("transaction of 50", self._several(50), 30, 60),
            Case("transaction of 500", self._several(500), 300, 12, 4, (1, 4)),
        ]

    def _get(self, path: Callable[[int], str]) -> Call:
        async def call(http: Http) -> None:
            _must(await http.send("GET", f"{self.base}/{path(self._number())}"), 200)

        return call

    def _search(self, name: str, query: str, least: int, bar: float | None = None) -> Case:
        """Return a search; its answer must hold at least so many entries."""

        async def call(http: Http) -> None:
            n = self._number()
            result = n * made.RESULTS
            filled = query.format(
                n=n,
                mrn=made.mrn(n),
                family=made.family(n),
                given=made.NAMES[n % 12],
                code=made.CODES[result % 3],
                value=5 + result % 90,
                day=made.observation(result, "")["effectiveDateTime"][:10],
            )
            body = _must(await http.send("GET", f"{self.base}/{filled}"), 200).body
            if (found := body.count(b'"mode":')) < least:
                raise Failed(f"{filled}: {found} entries of {least}")

        return Case(name, call, bar)

    def _number(self) -> int:
        return self.random.randrange(self.patients)

    async def _create(self, http: Http) -> None:
        body = json.dumps(made.patient(next(self.numbers))).encode()
        _must(await http.send("POST", f"{self.base}/Patient", body), 201)

    async def _create_known(self, http: Http) -> None:
        number = self._number()
        condition = f"If-None-Exist: identifier={MRN}|{made.mrn(number)}\r\n"
        body = json.dumps(made.patient(number)).encode()
        _must(await http.send("POST", f"{self.base}/Patient", body, condition), 200)

    async def _create_unknown(self, http: Http) -> None:
        number = next(self.numbers)
        condition = f"If-None-Exist: identifier={MRN}|{made.mrn(number)}\r\n"
        body = json.dumps(made.patient(number)).encode()
        _must(await http.send("POST", f"{self.base}/Patient", body, condition), 201)

    async def _update(self, http: Http) -> None:
        """Change most of a patient, but for what the searches look for."""
        number = self._number()
        kept = made.patient(number)
        name = kept["name"][0] | {"given": [*kept["name"][0]["given"], f"Given{self.random.randrange(1000)}"]}
        changed = made.patient(next(self.numbers)) | {"identifier": kept["identifier"], "name": [name]}
        body = json.dumps(changed | {"id": f"p{number}"}).encode()
        _must(await http.send("PUT", f"{self.base}/Patient/p{number}", body), 200)

    def _several(self, number: int) -> Call:
        async def call(http: Http) -> None:
            _must(await http.send("POST", self.base, made.several(number, next(self.numbers))), 200)

        return call
