"""People: who somebody is in this installation, and what in which clinic. Nothing here is of a patient."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from fhir_server.context import Role, Tenant
from fhir_server.errors import Conflict
from fhir_server.store import grants
from fhir_server.store.database import Database, Tx


class Person(msgspec.Struct, frozen=True):
    """Somebody who may sign in; `sub` stands in tokens and is never given to another person."""

    id: int
    sub: str
    email: str
    name: str
    disabled: datetime | None = None
    super_admin: bool = False


class Membership(msgspec.Struct, frozen=True):
    """What a person is in a clinic; `reference` is them in its records, such as Practitioner/123."""

    tenant: Tenant
    role: Role
    reference: str | None


class Colleague(msgspec.Struct, frozen=True):
    """A person as a clinic lists them; `invited` where no password was chosen yet, `role` None in no clinic."""

    person: Person
    role: Role | None
    reference: str | None
    invited: bool
    second_factor: bool


_COLUMNS = "id, sub, email, name, disabled, super_admin"
_ADD = f"""
insert into person (sub, email, name, created, super_admin) values (%s, %s, %s, %s, %s)
on conflict do nothing returning {_COLUMNS}
"""  # noqa: S608
_HELD = "select role, reference from membership where tenant_id = %s and person_id = %s and ended is null"
_ENROL = """
insert into membership (tenant_id, person_id, role, reference, created) values (%s, %s, %s, %s, %s)
on conflict (tenant_id, person_id) do update
set role = excluded.role, reference = excluded.reference, ended = null
"""


async def add(db: Database, email: str, name: str, now: datetime, *, super_admin: bool = False) -> Person:
    """Add a person. Raises Conflict where the address is known already."""
    async with db.transaction(None) as tx:
        return await add_in(tx, email, name, now, super_admin=super_admin)


async def add_in(tx: Tx, email: str, name: str, now: datetime, *, super_admin: bool = False) -> Person:
    """Add a person in a transaction. Raises Conflict where the address is known already."""
    rows = await tx.fetch(_ADD, (str(uuid.uuid4()), email.strip().lower(), name, now, super_admin))
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


def disable_in(tx: Tx, person: int, now: datetime) -> None:
    """Queue that a person is let in no more."""
    tx.defer("update person set disabled = coalesce(disabled, %s) where id = %s", (now, person))


def enable_in(tx: Tx, person: int) -> None:
    """Queue that a disabled person is let in again."""
    tx.defer("update person set disabled = null where id = %s", (person,))


async def by_id(db: Database, person: int) -> Person | None:
    """Return the person of this number, or None."""
    rows = await db.fetch(None, f"select {_COLUMNS} from person where id = %s", (person,))  # noqa: S608
    return Person(*rows[0]) if rows else None


async def with_password(db: Database, email: str) -> tuple[Person | None, str | None]:
    """Return the person of this address and the hash of their password; None for nobody, and where there is none."""
    sql = f"select {_COLUMNS}, password from person where email = %s"  # noqa: S608
    rows = await db.fetch(None, sql, (email,)) if "\0" not in email else []
    return (Person(*rows[0][:-1]), rows[0][-1]) if rows else (None, None)


def set_password(tx: Tx, person: int, hashed: str) -> None:
    """Queue the hash of a person's new password."""
    tx.defer("update person set password = %s where id = %s", (hashed, person))


def enrol_in(tx: Tx, person: int, role: Role, reference: str | None, now: datetime) -> None:
    """Queue a role of a person in the transaction's clinic."""
    tx.defer(_ENROL, (tx.tenant_id, person, role, reference, now))


def leave(tx: Tx, person: int, now: datetime) -> None:
    """Queue the end of a person's place in the transaction's clinic, and of what they allowed apps there."""
    sql = "update membership set ended = %s where tenant_id = %s and person_id = %s and ended is null"
    tx.defer(sql, (now, tx.tenant_id, person))
    grants.revoke_all(tx, person, "membership ended", now)


async def held(tx: Tx, person: int) -> tuple[Role, str | None] | None:
    """Return a person's role and reference in the transaction's clinic, and keep others from changing it."""
    rows = await tx.fetch(f"{_HELD} for update", (tx.tenant_id, person))
    return (rows[0][0], rows[0][1]) if rows else None


async def memberships(db: Database, person: int) -> list[Membership]:
    """Return what a person is, in which clinic, by its name."""
    sql = """
        select t.id, t.name, m.role, m.reference from membership m join tenant t on t.id = m.tenant_id
        where m.person_id = %s and m.ended is null order by t.name
    """
    return [Membership(Tenant(id_, name), *rest) for id_, name, *rest in await db.fetch(None, sql, (person,))]


async def membership(db: Database, tenant_id: int, person: int) -> tuple[Role, str | None] | None:
    """Return a person's role and reference in a clinic, or None."""
    rows = await db.fetch(None, _HELD, (tenant_id, person))
    return (rows[0][0], rows[0][1]) if rows else None


async def tenants_of(tx: Tx, person: int) -> list[int]:
    """Return the clinics that a person belongs to."""
    sql = "select tenant_id from membership where person_id = %s and ended is null order by tenant_id"
    return [tenant_id for (tenant_id,) in await tx.fetch(sql, (person,))]


_LIST = f"""
select {", ".join(f"p.{name}" for name in _COLUMNS.split(", "))}, m.role, m.reference, p.password is null,
       exists (select 1 from factor f where f.person_id = p.id)
from person p left join membership m on m.person_id = p.id and m.tenant_id = %s and m.ended is null
where m.role is not null or %s::int is null order by p.email
"""  # noqa: S608


async def listed(db: Database, tenant_id: int | None) -> list[Colleague]:
    """Return the people of a clinic, or with None all of the installation, by address."""
    rows = await db.fetch(None, _LIST, (tenant_id, tenant_id))
    return [Colleague(Person(*row[:-4]), *row[-4:]) for row in rows]


def note(
    tx: Tx, person: int | None, action: str, outcome: int, at: datetime, address: str | None, detail: Mapping[str, Any]
) -> None:
    """Queue a line of the installation's own record of sign-ins and changes of accounts; it is only added to."""
    sql = "insert into person_event (at, person_id, action, outcome, address, detail) values (%s, %s, %s, %s, %s, %s)"
    tx.defer(sql, (at, person, action, outcome, address, dict(detail) or None))
