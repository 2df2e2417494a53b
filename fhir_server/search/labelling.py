"""Security labels that the server sets: by what codes say, by what was there before, and what follows from others.

http://hl7.org/fhir/R4/security-labels.html · http://terminology.hl7.org/CodeSystem/v3-ActCode

Whoever writes may add a label, and takes none away: the labels that close a record stay until a person removes them.
What kind of note a note is no code tells safely, so psychotherapy notes carry the label that their author gives them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import UNSET

from fhir_server.search.ownership import CLASSES, GUARDED

ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
# From the least to the most: http://terminology.hl7.org/CodeSystem/v3-Confidentiality
LEVELS = ("U", "L", "M", "N", "R", "V")
# 42 CFR Part 2: what it covers may not be disclosed further without another consent.
PART_2, NO_REDISCLOSURE = "42CFRPART2", "NORDSCLCD"
PROTECTIVE = GUARDED | {"R", "V", NO_REDISCLOSURE}

_ICD_10 = {
    "F10": "ETHUD",
    "F11": "OPIOIDUD",
    **dict.fromkeys(("F12", "F13", "F14", "F15", "F16", "F18", "F19"), "SUD"),
    **dict.fromkeys(("B20", "B21", "B22", "B23", "B24", "R75", "Z21"), "HIV"),
}
_CODES: Mapping[str, Mapping[str, str]] = {
    "http://snomed.info/sct": {
        "86406008": "HIV",
        "62479008": "HIV",
        "7200002": "ETHUD",
        "66590003": "ETHUD",
        "75544000": "OPIOIDUD",
        "5602001": "OPIOIDUD",
        "191816009": "SUD",
        "66214007": "SUD",
    },
    "http://loinc.org": dict.fromkeys(("7917-8", "68961-2", "56888-1", "20447-9", "25836-8"), "HIV"),
    "http://www.nlm.nih.gov/research/umls/rxnorm": {
        "6813": "OPIOIDUD",
        "1819": "OPIOIDUD",
        "3554": "ETHUD",
        "82819": "ETHUD",
    },
}
_BY_CATEGORY = frozenset(("http://hl7.org/fhir/sid/icd-10", "http://hl7.org/fhir/sid/icd-10-cm"))
_SAYING = ("code", "medicationCodeableConcept", "reasonCode", "valueCodeableConcept")


def said(resource_type: str, resource: Any) -> set[str]:
    """Return the labels that the codes of a clinical resource ask for."""
    found: set[str] = set()
    if resource_type in CLASSES:
        # What is of the desk, of billing or of the law is closed by its own rules.
        return found
    for name in _SAYING:
        if (value := getattr(resource, name, UNSET)) is not UNSET:
            found.update(label for coding in _codings(value) if (label := _label(coding)))
    return found


def _label(coding: Any) -> str | None:
    if coding.system is UNSET or coding.code is UNSET:
        return None
    if coding.system in _BY_CATEGORY:
        return _ICD_10.get(coding.code[:3].upper())
    return _CODES.get(coding.system, {}).get(coding.code)


def _codings(value: Any) -> Iterator[Any]:
    for concept in value if isinstance(value, list) else (value,):
        coding = getattr(concept, "coding", UNSET)
        if coding is not UNSET:
            yield from coding


def missing(there: Iterable[str], wanted: Iterable[str]) -> list[tuple[str, str]]:
    """Return the labels (system, code) to be added: those wanted that are not there, and those that follow."""
    have = set(there)
    added = sorted(set(wanted) - have)
    every = have | set(added)
    if not GUARDED.isdisjoint(every) and every.isdisjoint(("R", "V")):
        added.append("R")
    if PART_2 in every and NO_REDISCLOSURE not in every:
        added.append(NO_REDISCLOSURE)
    return [(CONFIDENTIALITY if code in LEVELS else ACT, code) for code in added]
