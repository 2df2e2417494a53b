"""The people of `concord serve --demo`: one of each role, whose password is new at each start."""

from __future__ import annotations

import secrets

from fhir_server.app import Concord
from fhir_server.app.accounts import accounts_of
from fhir_server.context import Role, Tenant
from fhir_server.store import people, sessions

# E-mail address, name, role in the demo's clinic, who they are in its records.
PEOPLE: tuple[tuple[str, str, Role | None, str | None], ...] = (
    ("root@demo.example", "Robin Root", None, None),
    ("admin@demo.example", "Alex Admin", "clinic-admin", None),
    ("physician@demo.example", "Pat Physician", "physician", "Practitioner/demo-physician"),
    ("biller@demo.example", "Bo Biller", "biller", None),
    ("desk@demo.example", "Dee Desk", "front-desk", None),
    ("attorney@demo.example", "Ari Attorney", "attorney", None),
)


async def make(concord: Concord, tenant: Tenant) -> str:
    """Make the people where they are missing, sign them out, and return the password that they all have now."""
    password = "-".join(secrets.token_hex(2) for _ in range(4))
    hashed = await accounts_of(concord).passwords.hash(password)
    now = concord.clock()
    for email, name, role, reference in PEOPLE:
        person = await people.by_email(concord.db, email)
        if person is None:
            person = await people.add(concord.db, email, name, now, super_admin=role is None)
            if role:
                await people.enrol(concord.db, tenant.id, person.id, role, reference, now)
        async with concord.db.transaction(None) as tx:
            people.set_password(tx, person.id, hashed)
            sessions.end_all(tx, person.id)
    return password
