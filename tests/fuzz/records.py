"""The records that stand in the server before it is fuzzed: the same ids in every tenant, a word of its own in each."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def records(word: str) -> list[Json]:
    """Return resources of two patients; `word` stands in texts of all of them."""
    found: list[Json] = [_organization(word), _practitioner(word)]
    for number in ("1", "2"):
        found += [_patient(number, word), *_of_patient(number, word), *_of_nobody(number, word)]
    return found


def _organization(word: str) -> Json:
    return {"resourceType": "Organization", "id": "1", "name": word, "alias": ["a"]}


def _practitioner(word: str) -> Json:
    return {"resourceType": "Practitioner", "id": "1", "name": [{"family": word}], "active": True}


def _patient(number: str, word: str) -> Json:
    return {
        "resourceType": "Patient",
        "id": number,
        "meta": {
            "tag": [{"system": "http://s", "code": "t", "display": word}],
            "profile": ["http://example.org/p"],
        },
        "text": {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{word}</p></div>'},
        "identifier": [{"system": "http://s", "value": number, "type": {"coding": [{"code": "MR"}]}}],
        "name": [{"family": word, "given": ["Änn", "B"]}],
        "gender": "female",
        "birthDate": "1970-01-02",
        "address": [{"city": word, "country": "AT"}],
        "managingOrganization": {"reference": "Organization/1"},
        "generalPractitioner": [{"reference": "Practitioner/1"}],
        "extension": [{"url": "http://e", "valueDecimal": 1.50}],
    }


def _of_patient(number: str, word: str) -> list[Json]:
    subject = {"reference": f"Patient/{number}", "display": word}
    code = {"coding": [{"system": "http://loinc.org", "code": "8480-6", "display": word}], "text": word}
    return [
        {
            "resourceType": "Encounter",
            "id": number,
            "status": "finished",
            "class": {"code": "AMB", "display": word},
            "subject": subject,
            "period": {"start": "2020-01-01T10:00:00Z", "end": "2020-01-02"},
        },
        {
            "resourceType": "Observation",
            "id": number,
            "status": "final",
            "code": code,
            "subject": subject,
            "encounter": {"reference": f"Encounter/{number}"},
            "effectiveDateTime": "2020-01-01T10:00:00+01:00",
            "valueQuantity": {"value": 1.20, "unit": "g", "system": "http://unitsofmeasure.org", "code": "g"},
            "component": [{"code": code, "valueQuantity": {"value": 80, "code": "mm[Hg]"}}],
            "note": [{"text": word}],
        },
        {
            "resourceType": "Condition",
            "id": number,
            "subject": subject,
            "code": code,
            "onsetPeriod": {"start": "2019"},
        },
        {
            "resourceType": "DocumentReference",
            "id": number,
            "status": "current",
            "subject": subject,
            "description": word,
            "content": [{"attachment": {"contentType": "text/plain", "data": "YQ==", "title": word}}],
        },
        {"resourceType": "Basic", "id": number, "code": {"text": word}, "subject": subject, "created": "2020-02-29"},
        {
            "resourceType": "List",
            "id": number,
            "status": "current",
            "mode": "working",
            "subject": subject,
            "title": word,
            "entry": [{"item": {"reference": f"Observation/{number}"}}],
        },
    ]


def _of_nobody(number: str, word: str) -> list[Json]:
    return [
        {
            "resourceType": "Questionnaire",
            "id": number,
            "status": "active",
            "title": word,
            "item": [{"linkId": "1", "type": "group", "item": [{"linkId": "2", "type": "string", "text": word}]}],
        },
        {"resourceType": "ValueSet", "id": number, "status": "active", "url": f"http://example.org/{number}"}
        | {"title": word, "compose": {"include": [{"system": "http://loinc.org", "concept": [{"code": "8480-6"}]}]}},
        {
            "resourceType": "Binary",
            "id": number,
            "contentType": "text/plain",
            "data": "YQ==",
            "securityContext": {"reference": f"Patient/{number}"},
        },
        {
            "resourceType": "SearchParameter",
            "id": number,
            "url": f"http://example.org/sp{number}",
            "name": word,
            "status": "active" if number == "1" else "draft",
            "description": word,
            "code": f"sp{number}",
            "base": ["Patient"],
            "type": "string",
            "expression": "Patient.name.family",
        },
    ]


TYPES = tuple(dict.fromkeys(record["resourceType"] for record in records("x")))
