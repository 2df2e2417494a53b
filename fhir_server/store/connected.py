"""Which apps a person has given access to in a clinic, and the end of it.

https://www.rfc-editor.org/rfc/rfc7009
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from fhir_server.store.database import Database, Tx


class Given(msgspec.Struct, frozen=True):
    """A grant that stands, with the name of its app."""

    id: str
    client_id: str
    name: str
    scope: str
    patient: str | None
    created: datetime
    expires: datetime | None


_STANDS = "g.revoked is null and (g.expires is null or g.expires > %s)"
_OF_PERSON = f"""
select g.id, g.client_id, c.name, g.scope, g.patient, g.created, g.expires
from oauth_grant g join oauth_client c on c.tenant_id = g.tenant_id and c.client_id = g.client_id
where g.tenant_id = %s and g.person_id = %s and {_STANDS}
order by c.name, g.client_id, g.created desc
"""  # noqa: S608
_END = f"""
update oauth_grant g set revoked = %s, reason = %s
where g.tenant_id = %s and g.person_id = %s and g.client_id = %s and {_STANDS} returning g.id
"""  # noqa: S608


async def of_person(db: Database, tenant_id: int, person: int, now: datetime) -> list[Given]:
    """Return what a person has given, by app, the latest first."""
    return [Given(*row) for row in await db.fetch(tenant_id, _OF_PERSON, (tenant_id, person, now))]


async def end(tx: Tx, person: int, client_id: str, reason: str, now: datetime) -> list[str]:
    """End all that a person has given an app, and return the ids of these grants."""
    rows = await tx.fetch(_END, (now, reason, tx.tenant_id, person, client_id, now))
    return [id_ for (id_,) in rows]
