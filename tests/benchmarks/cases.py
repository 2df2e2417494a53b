"""What is measured. A case makes one call; its data is made beforehand, so that only the call is counted."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.client import Answer, Http

HERE = Path(__file__).parent
Call = Callable[[Http], Awaitable[None]]
_NAMES = ("Abel", "Bruna", "Chidi", "Dagny", "Elif", "Farid", "Gudrun", "Hiro", "Ines", "Jonas", "Keiko", "Lars")


class Failed(Exception):
    """A call was not answered as it must be: its cost would mean nothing."""


def _must(answer: Answer, *allowed: int) -> Answer:
    if answer.status not in allowed:
        raise Failed(f"{answer.status}: {answer.body[:300]!r}")
    return answer


def patient(number: int) -> dict[str, Any]:
    """Return an invented patient of common size (about 1 KB)."""
    given, family = _NAMES[number % 12], f"{_NAMES[number // 12 % 12]}sen{number % 997}"
    return {
        "resourceType": "Patient",
        "identifier": [{"system": "http://hospital.example/mrn", "value": f"MRN{number:08d}"}],
        "active": True,
        "name": [{"use": "official", "family": family, "given": [given, _NAMES[(number + 5) % 12]]}],
        "telecom": [{"system": "phone", "value": f"+1 305 555 {number % 10000:04d}", "use": "home"}],
        "gender": ("female", "male")[number % 2],
        "birthDate": f"{1940 + number % 80}-{number % 12 + 1:02d}-{number % 28 + 1:02d}",
        "address": [{"line": [f"{number % 900} Bay Road"], "city": "Miami", "state": "FL", "postalCode": "33101"}],
        "maritalStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "M"}]
        },
    }


def observation(number: int, subject: str) -> dict[str, Any]:
    """Return an invented laboratory result of a patient."""
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}
        ],
        "code": {"coding": [{"system": "http://loinc.org", "code": ("718-7", "2345-7", "2160-0")[number % 3]}]},
        "subject": {"reference": subject},
        "effectiveDateTime": f"2026-{number % 12 + 1:02d}-{number % 28 + 1:02d}T08:30:00Z",
        "valueQuantity": {
            "value": 5 + number % 90,
            "unit": "mg/dL",
            "system": "http://unitsofmeasure.org",
            "code": "mg/dL",
        },
    }


def transaction(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a transaction that creates these resources; an entry may carry its fullUrl under `_url`."""
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"fullUrl": e.pop("_url", None), "resource": e, "request": {"method": "POST", "url": e["resourceType"]}}
            if "_url" in e
            else {"resource": e, "request": {"method": "POST", "url": e["resourceType"]}}
            for e in entries
        ],
    }


def fifty(folder: Path | None, seed: int) -> bytes:
    """Return a transaction of 50: of a Synthea bundle where there is one, else of our own making, with new ids."""
    files = sorted(folder.glob("patient-*.json")) if folder else []
    if not files:
        url = f"urn:uuid:00000000-0000-4000-8000-{seed:012d}"
        own = [patient(seed) | {"_url": url}] + [observation(n, url) for n in range(49)]
        return json.dumps(transaction(own)).encode()
    bundle = json.loads(files[seed % len(files)].read_text())
    bundle["entry"] = bundle["entry"][:50]
    return json.dumps(bundle, separators=(",", ":")).encode()


class Data:
    """The server's filling and what the cases draw from it; every draw is seeded, so runs are alike."""

    def __init__(self, base: str, synthea: Path | None) -> None:
        self.base, self.synthea = base, synthea
        self.patients: list[str] = []
        self.random = random.Random(7)
        self.numbers: Iterator[int] = itertools.count(1_000_000)

    async def fill(self, http: Http, patients: int) -> None:
        """Create patients with 8 results each, in transactions."""
        for number in range(patients):
            url = f"urn:uuid:00000000-0000-4000-8000-{number:012d}"
            own = [patient(number) | {"_url": url}] + [observation(n + number, url) for n in range(8)]
            answer = _must(await http.send("POST", self.base, json.dumps(transaction(own)).encode()), 200)
            location = json.loads(answer.body)["entry"][0]["response"]["location"]
            self.patients.append(location.split("/Patient/")[1].split("/")[0])

    def cases(self) -> dict[str, Call]:
        """Return the calls by name."""
        base, draw = self.base, self.random.choice

        async def read(http: Http) -> None:
            _must(await http.send("GET", f"{base}/Patient/{draw(self.patients)}"), 200)

        async def create(http: Http) -> None:
            body = json.dumps(patient(next(self.numbers))).encode()
            _must(await http.send("POST", f"{base}/Patient", body), 201)

        async def update(http: Http) -> None:
            name = draw(self.patients)
            body = json.dumps(patient(next(self.numbers)) | {"id": name}).encode()
            _must(await http.send("PUT", f"{base}/Patient/{name}", body), 200)

        async def by_identifier(http: Http) -> None:
            number = self.random.randrange(len(self.patients))
            await http.send("GET", f"{base}/Patient?identifier=http://hospital.example/mrn|MRN{number:08d}")

        async def by_name(http: Http) -> None:
            _must(await http.send("GET", f"{base}/Patient?name={draw(_NAMES)}&_count=20"), 200)

        async def by_subject(http: Http) -> None:
            _must(await http.send("GET", f"{base}/Observation?subject=Patient/{draw(self.patients)}"), 200)

        async def fifty_at_once(http: Http) -> None:
            _must(await http.send("POST", base, fifty(self.synthea, next(self.numbers))), 200)

        return {
            "read by id": read,
            "create Patient": create,
            "Patient?identifier= 1 hit": by_identifier,
            "Patient?name= 20 hits": by_name,
            "Observation?subject= 8 hits": by_subject,
            "update Patient": update,
            "transaction of 50": fifty_at_once,
        }
