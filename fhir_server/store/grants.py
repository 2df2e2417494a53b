"""What a user has allowed an app, or a client holds: its tokens stand and fall together.

https://www.rfc-editor.org/rfc/rfc7009#section-2.1
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from fhir_server.store.database import Tx


class OauthGrant(msgspec.Struct, frozen=True, kw_only=True):
    """One grant; `patient` and `encounter` are the launch context, `person` None where a client acts for itself."""

    id: str
    client_id: str
    scope: str
    created: datetime
    person: int | None = None
    patient: str | None = None
    encounter: str | None = None
    expires: datetime | None = None


_ADD = """
insert into oauth_grant (tenant_id, id, client_id, person_id, scope, patient, encounter, created, expires)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


def add(tx: Tx, grant: OauthGrant) -> None:
    """Queue a grant."""
    values = (grant.id, grant.client_id, grant.person, grant.scope, grant.patient, grant.encounter)
    tx.defer(_ADD, (tx.tenant_id, *values, grant.created, grant.expires))


def revoke(tx: Tx, grant_id: str, reason: str, now: datetime) -> None:
    """Queue the end of a grant and with it of all its tokens; the first reason stays."""
    sql = "update oauth_grant set revoked = %s, reason = %s where tenant_id = %s and id = %s and revoked is null"
    tx.defer(sql, (now, reason, tx.tenant_id, grant_id))
