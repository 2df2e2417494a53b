"""What tests of Binary share: a content, and how it is sent."""

from __future__ import annotations

from tests.fhir import Client

PDF = b"%PDF-1.7 \x00\xff not really\n" * 9
PREFERS = {"accept": "application/pdf, application/fhir+json;q=0.5"}
FHIR = {"accept": "application/fhir+json"}


async def sent(fhir: Client, content: bytes = PDF, kind: str = "application/pdf", **headers: str) -> str:
    """Post a content and return the address of what it became."""
    answer = await fhir.post("/Binary", content=content, headers={"content-type": kind, **headers})
    assert answer.status_code == 201, answer.text
    return f"/Binary/{answer.json()['id']}"
