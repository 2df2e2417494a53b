"""People with a role in a clinic, for tests that act as one of them."""

from __future__ import annotations

import uuid

from fhir_server.context import Role
from fhir_server.store import people
from fhir_server.store.people import Person
from tests.fhir import Client


async def member(client: Client, role: Role, reference: str | None = None) -> Person:
    """Return a new person with this role in the client's clinic; `reference` is them in its records."""
    db, now = client.concord.db, client.clock()
    person = await people.add(db, f"{role}-{uuid.uuid4().hex[:12]}@example.org", f"A {role}", now)
    await people.enrol(db, client.tenant_id, person.id, role, reference, now)
    return person


async def token_of(client: Client, person: Person, scope: str = "user/*.cruds") -> str:
    """Return a token by which this person acts in the client's clinic."""
    return await client.token(scope, subject=person.sub)
