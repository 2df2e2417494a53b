"""The people of `concord serve --demo`: one of each role, whose password is new at each start."""

from __future__ import annotations

import secrets

from conformance.r4.types import TYPE_CODES
from fhir_server.app import Concord
from fhir_server.app.accounts import accounts_of
from fhir_server.context import Role, Tenant
from fhir_server.store import care, cases, people, sessions

PHYSICIAN = "physician@demo.example"
# E-mail address, name, and role in the demo's clinic.
PEOPLE: tuple[tuple[str, str, Role | None], ...] = (
    ("root@demo.example", "Robin Root", None),
    ("admin@demo.example", "Alex Admin", "clinic-admin"),
    (PHYSICIAN, "Chidi Okafor", "physician"),
    ("biller@demo.example", "Bo Biller", "biller"),
    ("desk@demo.example", "Dee Desk", "front-desk"),
    ("attorney@demo.example", "Ari Attorney", "attorney"),
)


async def make(concord: Concord, tenant: Tenant) -> str:
    """Make the people where they are missing, sign them out, and return the password that they all have now."""
    password = "-".join(secrets.token_hex(2) for _ in range(4))
    hashed = await accounts_of(concord).passwords.hash(password)
    now = concord.clock()
    for email, name, role in PEOPLE:
        person = await people.by_email(concord.db, email)
        if person is None:
            person = await people.add(concord.db, email, name, now, super_admin=role is None)
            if role:
                await people.enrol(concord.db, tenant.id, person.id, role, None, now)
        async with concord.db.transaction(None) as tx:
            people.set_password(tx, person.id, hashed)
            sessions.end_all(tx, person.id)
    return password


async def settle(concord: Concord, tenant: Tenant) -> None:
    """Let the physician be one whom the messages name, with the patients of the demo in their care; once."""
    physician = await people.by_email(concord.db, PHYSICIAN)
    known = await people.membership(concord.db, tenant.id, physician.id) if physician else None
    found = await care.busiest(concord.db, tenant.id, TYPE_CODES["Practitioner"])
    if physician is None or known is None or known[1] is not None or found is None:
        return
    id_, member = found
    patients = await care.keys_of(concord.db, tenant.id, TYPE_CODES["Patient"])
    now = concord.clock()
    async with concord.db.transaction(tenant.id) as tx:
        people.enrol_in(tx, physician.id, "physician", f"Practitioner/{id_}", now)
        for patient in patients:
            await cases.assign_care(tx, member, patient, "assigned", now, None)
