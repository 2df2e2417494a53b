"""The people of a clinic, as who administers them sees it: add, invite, give a role, end it, disable, let in again.

Each change is told with its state before and after, in the clinic that it is about.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, get_args

import msgspec

from fhir_server.context import Role, Tenant
from fhir_server.errors import Conflict, Forbidden, Invalid, NotFound
from fhir_server.smart.accounts import Accounts, require_email
from fhir_server.smart.told import Source, disconnect, tell
from fhir_server.store import audit, failures, invitations, people, sessions
from fhir_server.store.audit import Audited
from fhir_server.store.database import Tx
from fhir_server.store.people import Person

_REFERENCE = re.compile(r"(Practitioner|RelatedPerson|Patient|Person)/[A-Za-z0-9\-.]{1,64}\Z")
_LONGEST_NAME = 200


class Admin(msgspec.Struct, frozen=True):
    """Who changes people's accounts: a person's sub, or the command line; from where, and when."""

    sub: str
    client: str
    now: datetime
    source: Source = Source()


async def add(accounts: Accounts, admin: Admin, email: str, name: str, *, super_admin: bool = False) -> Person:
    """Add a person. Raises Invalid, and Conflict where the address is known."""
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise Invalid(f"a name has 1 to {_LONGEST_NAME} printable characters")
    async with accounts.db.transaction(None) as tx:
        made = await people.add_in(tx, require_email(email), name.strip(), admin.now, super_admin=super_admin)
        people.note(tx, made.id, "add-person", 201, admin.now, admin.source.address, {"by": admin.sub})
    return made


async def known(accounts: Accounts, email: str) -> Person:
    """Return the person of this address; raise NotFound."""
    found = await people.by_email(accounts.db, require_email(email))
    if found is None:
        raise NotFound(f"there is nobody with the address {email[:80]}")
    return found


async def give_role(
    accounts: Accounts, admin: Admin, tenant: Tenant, person: Person, role: str, reference: str | None
) -> None:
    """Give a person a role in a clinic, in place of the one they had. Raises Invalid."""
    kept = require_role(role)
    if reference is not None and not _REFERENCE.match(reference):
        raise Invalid(f"{reference[:80]!r} does not name a person in the clinic's records, such as Practitioner/123")
    async with accounts.db.transaction(tenant.id) as tx:
        before = await people.held(tx, person.id)
        if before is None:
            # A reset that another clinic asked for is no way into this one.
            invitations.void_resets(tx, person.id, admin.now)
        people.enrol_in(tx, person.id, kept, reference, admin.now)
        _tell(tx, admin, tenant, "give-role", person, before=_told(before), after=_told((kept, reference)))


async def end_role(accounts: Accounts, admin: Admin, tenant: Tenant, person: Person) -> None:
    """End a person's place in a clinic; their tokens there stop within the second. Raises NotFound."""
    async with accounts.db.transaction(tenant.id) as tx:
        before = await people.held(tx, person.id)
        if before is None:
            raise NotFound("this person has no role in this clinic")
        people.leave(tx, person.id, admin.now)
        _tell(tx, admin, tenant, "end-role", person, before=_told(before))


async def disable(accounts: Accounts, admin: Admin, person: Person) -> None:
    """Let a person in no more, anywhere; their sessions end now, their tokens within the second."""
    async with accounts.db.transaction(None) as tx:
        people.disable_in(tx, person.id, admin.now)
        sessions.end_all(tx, person.id)
        await disconnect(tx, person.id, "person disabled", admin.now)
        await _tell_all(tx, admin, person, "disable-person")


async def enable(accounts: Accounts, admin: Admin, person: Person) -> None:
    """Let a disabled person in again."""
    async with accounts.db.transaction(None) as tx:
        people.enable_in(tx, person.id)
        await _tell_all(tx, admin, person, "enable-person")


async def sign_out(accounts: Accounts, admin: Admin, person: Person) -> None:
    """End all sessions of a person."""
    async with accounts.db.transaction(None) as tx:
        sessions.end_all(tx, person.id)
        await _tell_all(tx, admin, person, "sign-out", everywhere=True)


async def unlock(accounts: Accounts, admin: Admin, person: Person) -> None:
    """Forget a person's failures to sign in."""
    async with accounts.db.transaction(None) as tx:
        for tried in accounts.signin.tries_of(person):
            failures.forgive(tx, tried)
        await _tell_all(tx, admin, person, "unlock-person")


async def require_only_here(accounts: Accounts, tenant: Tenant, person: Person) -> None:
    """Raise Forbidden where a person is more than this clinic's: its administrator resets nobody else's account."""
    elsewhere = [m for m in await people.memberships(accounts.db, person.id) if m.tenant.id != tenant.id]
    if person.super_admin or elsewhere:
        raise Forbidden("this person is known to others too: a super admin of the installation does it")


def require_role(role: str) -> Role:
    """Return a role that a person may have in a clinic; raise Invalid."""
    names = [name for name in get_args(Role) if name != "super-admin"]
    if role == "super-admin":
        raise Conflict("a super admin is one of the whole installation, not of a clinic")
    if role not in names:
        raise Invalid(f"there is no role {role[:40]!r}; there are: {', '.join(names)}")
    return role  # type: ignore[return-value]


def _told(role: tuple[str, str | None] | None) -> dict[str, str | None] | None:
    return {"role": role[0], "reference": role[1]} if role else None


def _tell(tx: Tx, admin: Admin, tenant: Tenant, action: str, person: Person, **detail: Any) -> None:
    told = {"person": person.sub, **detail}
    row = Audited(at=admin.now, action=action, subject=admin.sub, client=admin.client, outcome=200, detail=told)
    noted = {**detail, "by": admin.sub, "tenant": tenant.name}
    people.note(tx, person.id, action, 200, admin.now, admin.source.address, noted)
    audit.record(tx, [row])


async def _tell_all(tx: Tx, admin: Admin, person: Person, action: str, **detail: Any) -> None:
    await tell(tx, action, 200, admin.now, admin.source, person=person.id, sub=person.sub, by=admin.sub, **detail)
