"""What a user has allowed an app, or a client holds: its tokens stand and fall together.

https://www.rfc-editor.org/rfc/rfc7009#section-2.1
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from fhir_server.store.database import Tx


class Holder(msgspec.Struct, frozen=True):
    """The person of a grant as they are in the clinic now; `reference` is them in its records."""

    person: int
    sub: str
    name: str
    reference: str | None


class OauthGrant(msgspec.Struct, frozen=True, kw_only=True):
    """One grant; `patient` and `encounter` are the launch context, `person` None where a client acts for itself.

    `session` is the hash of the sign-in that it ends with, None where it outlasts that.
    """

    id: str
    client_id: str
    scope: str
    created: datetime
    person: int | None = None
    patient: str | None = None
    encounter: str | None = None
    expires: datetime | None = None
    session: bytes | None = None
    revoked: datetime | None = None


_COLUMNS = "id, client_id, scope, created, person_id, patient, encounter, expires, session, revoked"
_ADD = f"""
insert into oauth_grant (tenant_id, {_COLUMNS}) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""  # noqa: S608


def add(tx: Tx, grant: OauthGrant) -> None:
    """Queue a grant."""
    tx.defer(_ADD, (tx.tenant_id, *msgspec.structs.astuple(grant)))


def add_service(tx: Tx, grant: OauthGrant) -> None:
    """Queue a grant of a client that acts for itself, and the removal of those of it that are over."""
    sql = "delete from oauth_grant where tenant_id = %s and client_id = %s and expires < %s and person_id is null"
    tx.defer(sql, (tx.tenant_id, grant.client_id, grant.created))
    add(tx, grant)


async def by_id(tx: Tx, grant_id: str) -> OauthGrant | None:
    """Return a grant, revoked or not, or None."""
    sql = f"select {_COLUMNS} from oauth_grant where tenant_id = %s and id = %s"  # noqa: S608
    rows = await tx.fetch(sql, (tx.tenant_id, grant_id))
    return OauthGrant(**dict(zip(OauthGrant.__struct_fields__, rows[0], strict=True))) if rows else None


def extend(tx: Tx, grant_id: str, expires: datetime) -> None:
    """Queue that the grant lasts until `expires` at least."""
    sql = "update oauth_grant set expires = greatest(expires, %s) where tenant_id = %s and id = %s"
    tx.defer(sql, (expires, tx.tenant_id, grant_id))


def revoke(tx: Tx, grant_id: str, reason: str, now: datetime) -> None:
    """Queue the end of a grant and with it of all its tokens; the first reason stays."""
    sql = "update oauth_grant set revoked = %s, reason = %s where tenant_id = %s and id = %s and revoked is null"
    tx.defer(sql, (now, reason, tx.tenant_id, grant_id))


def revoke_all(tx: Tx, person: int, reason: str, now: datetime) -> None:
    """Queue the end of all that a person allowed apps in the transaction's clinic: it does not come back with them."""
    sql = "update oauth_grant set revoked = %s, reason = %s where tenant_id = %s and person_id = %s and revoked is null"
    tx.defer(sql, (now, reason, tx.tenant_id, person))


async def holder(tx: Tx, person: int) -> Holder | None:
    """Return a person as they are in this clinic now; None where they are let in no more."""
    sql = (
        "select p.id, p.sub, p.name, m.reference from person p join membership m on m.person_id = p.id"
        " where p.id = %s and m.tenant_id = %s and p.disabled is null and m.ended is null"
    )
    rows = await tx.fetch(sql, (person, tx.tenant_id))
    return Holder(*rows[0]) if rows else None
