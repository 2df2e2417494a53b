"""Consents as patients give them, and who asks."""

from __future__ import annotations

from typing import Any

from tests.fhir import Client
from tests.http.belonging import put

ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
Json = dict[str, Any]


def deny(**more: Any) -> Json:
    """Return a provision that denies."""
    return {"type": "deny", **more}


def permit(**more: Any) -> Json:
    """Return a provision that permits."""
    return {"type": "permit", **more}


def actor(reference: str) -> list[Json]:
    """Return who a provision is about."""
    return [{"role": {"text": "recipient"}, "reference": {"reference": reference}}]


def types(*names: str) -> list[Json]:
    """Return the classes that are resource types."""
    return [{"system": "http://hl7.org/fhir/resource-types", "code": name} for name in names]


def coded(system: str, *codes: str) -> list[Json]:
    """Return codings."""
    return [{"system": system, "code": code} for code in codes]


def record(*references: str, meaning: str = "instance") -> list[Json]:
    """Return the data that a provision is about."""
    return [{"meaning": meaning, "reference": {"reference": one}} for one in references]


async def consent(client: Client, provision: Json | None, id_: str = "c", of: str = "p", **more: Any) -> None:
    """Write a Consent of privacy."""
    given = {
        "status": "active",
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": f"Patient/{of}"},
        "sourceAttachment": {"title": "signed"},
        "policyRule": {"coding": [{"system": ACT, "code": "OPTIN"}]},
        **({} if provision is None else {"provision": provision}),
        **more,
    }
    await put(client, "Consent", id_, **given)


async def seen(client: Client, *references: str, token: str = "all") -> list[str]:
    """Return those of the references that a read shows; a search by id must say the same."""
    found = []
    for reference in references:
        type_, _, id_ = reference.partition("/")
        answer = await client.get(f"/{reference}", token=token)
        assert answer.status_code in (200, 404), answer.text
        searched = await client.get(f"/{type_}?_id={id_}&_total=accurate", token=token)
        assert searched.json()["total"] == (answer.status_code == 200), searched.text
        if answer.status_code == 200:
            found.append(reference)
    return found
