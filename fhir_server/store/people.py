"""People: who somebody is in this installation, and what in which clinic. Nothing here is of a patient."""

from __future__ import annotations

import uuid
from datetime import datetime

import msgspec

from fhir_server.context import Role
from fhir_server.errors import Conflict
from fhir_server.store.database import Database


class Person(msgspec.Struct, frozen=True):
    """Somebody who may sign in; `sub` stands in tokens and is never given to another person."""

    id: int
    sub: str
    email: str
    name: str
    disabled: datetime | None = None


_COLUMNS = "id, sub, email, name, disabled"
_ADD = f"""
insert into person (sub, email, name, created) values (%s, %s, %s, %s) on conflict do nothing returning {_COLUMNS}
"""  # noqa: S608
_ENROL = """
insert into membership (tenant_id, person_id, role, reference, created) values (%s, %s, %s, %s, %s)
on conflict (tenant_id, person_id) do update
set role = excluded.role, reference = excluded.reference, ended = null
"""


async def add(db: Database, email: str, name: str, now: datetime) -> Person:
    """Add a person. Raises Conflict where the address is known already."""
    rows = await db.fetch(None, _ADD, (str(uuid.uuid4()), email.strip().lower(), name, now))
    if not rows:
        raise Conflict(f"there is a person with the address {email} already")
    return Person(*rows[0])


async def by_email(db: Database, email: str) -> Person | None:
    """Return the person of this address, or None."""
    rows = await db.fetch(None, f"select {_COLUMNS} from person where email = %s", (email.strip().lower(),))  # noqa: S608
    return Person(*rows[0]) if rows else None


async def enrol(db: Database, tenant_id: int, person: int, role: Role, reference: str | None, now: datetime) -> None:
    """Give a person a role in a clinic, or another one; `reference` is them in its records: Practitioner/…"""
    await db.fetch(None, _ENROL, (tenant_id, person, role, reference, now))


async def disable(db: Database, person: int, now: datetime) -> None:
    """Let a person in no more; their tokens stop within the second."""
    await db.fetch(None, "update person set disabled = coalesce(disabled, %s) where id = %s", (now, person))
