"""The resources that a benchmark writes: invented ones, and where they are at hand Synthea's, with new identities."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SYNTHEA = HERE.parents[2] / "shared" / "data" / "synthea"
MRN = "http://hospital.example/mrn"
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
NAMES = ("Abel", "Bruna", "Chidi", "Dagny", "Elif", "Farid", "Gudrun", "Hiro", "Ines", "Jonas", "Keiko", "Lars")
CODES = ("718-7", "2345-7", "2160-0")
RESULTS = 8  # of each patient
Resource = dict[str, Any]


def mrn(number: int) -> str:
    """Return the medical record number of an invented patient."""
    return f"MRN{number:08d}"


def family(number: int) -> str:
    """Return the family name of an invented patient: 11,964 different ones."""
    return f"{NAMES[number // 12 % 12]}sen{number % 997}"


def patient(number: int) -> Resource:
    """Return an invented patient of common size (about 1 KB)."""
    return {
        "resourceType": "Patient",
        "identifier": [{"system": MRN, "value": mrn(number)}],
        "active": True,
        "name": [
            {"use": "official", "family": family(number), "given": [NAMES[number % 12], NAMES[(number + 5) % 12]]}
        ],
        "telecom": [{"system": "phone", "value": f"+1 305 555 {number % 10000:04d}", "use": "home"}],
        "gender": ("female", "male")[number % 2],
        "birthDate": f"{1940 + number % 80}-{number % 12 + 1:02d}-{number % 28 + 1:02d}",
        "address": [{"line": [f"{number % 900} Bay Road"], "city": "Miami", "state": "FL", "postalCode": "33101"}],
        "maritalStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "M"}]
        },
    }


def observation(number: int, subject: str) -> Resource:
    """Return an invented laboratory result of a patient."""
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [
            {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}
        ],
        "code": {"coding": [{"system": LOINC, "code": CODES[number % 3]}]},
        "subject": {"reference": subject},
        "effectiveDateTime": f"{2016 + number // 336 % 11}-{number % 12 + 1:02d}-{number % 28 + 1:02d}T08:30:00Z",
        "valueQuantity": {"value": 5 + number % 90, "unit": "mg/dL", "system": UCUM, "code": "mg/dL"},
    }


def post(resource: Resource, url: str | None = None) -> Resource:
    """Return the entry of a transaction that creates a resource."""
    entry: Resource = {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}
    return {"fullUrl": url, **entry} if url else entry


def transaction(entries: Iterable[Resource]) -> bytes:
    """Return a transaction of entries."""
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}
    return json.dumps(bundle, separators=(",", ":")).encode()


def invented(patients: range) -> bytes:
    """Return a transaction that puts patients, under the ids `p0` and so on, and posts their results."""
    entries = []
    for number in patients:
        name = f"Patient/p{number}"
        body = patient(number) | {"id": f"p{number}"}
        entries.append({"resource": body, "request": {"method": "PUT", "url": name}})
        entries += [post(observation(number * RESULTS + n, name)) for n in range(RESULTS)]
    return transaction(entries)


def synthea(copy: int) -> list[Resource]:
    """Return the entries of a Synthea patient who is a new person for each number; none without Synthea's data."""
    found = _bundles()
    if not found:
        return []
    entries = found[copy % len(found)]
    person = entries[0]["resource"]
    assert person["resourceType"] == "Patient"
    identifiers = [i | {"value": f"{i['value']}-{copy}"} for i in person["identifier"]]
    names = [name | {"family": f"{name['family']}{copy}"} for name in person["name"]]
    renewed = entries[0] | {"resource": person | {"identifier": identifiers, "name": names}}
    return [renewed, *entries[1:]]


@cache
def _bundles() -> list[list[Resource]]:
    files = sorted(SYNTHEA.glob("patient-*.json")) if SYNTHEA.is_dir() else []
    return [json.loads(file.read_text())["entry"] for file in files]


def several(number: int, seed: int) -> bytes:
    """Return a transaction of so many entries: Synthea's, as many patients as it takes, or of our own making."""
    entries: dict[str, Resource] = {}
    for copy in itertools.count(seed):
        if len(entries) >= number:
            break
        # Patients share physicians and hospitals, which stand in a transaction once.
        entries |= {entry["fullUrl"]: entry for entry in synthea(copy) or _own(copy)}
    return transaction(itertools.islice(entries.values(), number))


def _own(copy: int) -> list[Resource]:
    url = f"urn:uuid:00000000-0000-4000-8000-{copy:012d}"
    results = [post(observation(n, url), f"urn:uuid:00000000-0000-4000-8{n:03d}-{copy:012d}") for n in range(49)]
    return [post(patient(copy), url), *results]


def numbers() -> Iterator[int]:
    """Return numbers of patients that no filling has used, nor an earlier run on the same data."""
    return itertools.count(int(time.time() * 1000))
