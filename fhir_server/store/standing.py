"""Whether a token still stands: its grant, its client, its person and their place in the clinic, as of now."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from fhir_server.context import Member
from fhir_server.store.database import Database


class Standing(msgspec.Struct, frozen=True):
    """What the database says of a token now; `fallen` is why it no longer counts, None while it stands.

    `consents` tells whether any patient of the tenant denies anything.
    """

    fallen: str | None = None
    member: Member | None = None
    consents: bool = True
    purpose: Literal["BTG", "SUPPORT"] | None = None


# Who may break the glass; asked again as long as it lasts.
MAY_BREAK_GLASS = ("physician", "clinic-admin")
_SQL = """
select
    (select g.revoked is null and (g.expires is null or g.expires > %s)
            and (g.session is null or exists (select from session n where n.hash = g.session and n.expires > %s))
     from oauth_grant g
     where g.tenant_id = %s and g.id = %s),
    (select c.disabled is null from oauth_client c where c.tenant_id = %s and c.client_id = %s),
    p.id, p.disabled is null, coalesce(m.role, case when p.super_admin then 'super-admin' end), m.reference,
    exists (select from consent_rule r where r.tenant_id = %s),
    p.super_admin, s.kind, s.ended is null and s.expires > %s,
    exists (select from signing_key k where k.tenant_id = %s and k.kid = %s and k.revoked is not null)
from (select) as always
left join person p on p.sub = %s
left join membership m on m.tenant_id = %s and m.person_id = p.id and m.ended is null
left join special_access s on s.tenant_id = %s and s.id = %s and s.person_id = p.id
"""


async def of(
    db: Database, tenant_id: int, subject: str, client: str, grant_id: str | None, key: str | None, now: datetime
) -> Standing:
    """Return how a token of this grant, client and subject stands; `key` is the kid of what signed it."""
    who = subject if subject != client else None
    granted_by = (now, now, tenant_id, grant_id, tenant_id, client, tenant_id, now, tenant_id, key)
    ((granted, served, person, enabled, role, reference, consents, is_super, kind, lives, leaked),) = await db.fetch(
        tenant_id, _SQL, (*granted_by, who, tenant_id, tenant_id, grant_id)
    )
    if leaked:
        return Standing("the key that signed this token was revoked")
    if grant_id is not None and not granted:
        return Standing("the grant of this token was revoked or is over")
    if served is False:
        return Standing("the client of this token is disabled")
    if person is None:
        return Standing(consents=consents)
    if kind is not None and not lives:
        return Standing("the special access of this token is over")
    if kind == "SUPPORT" and enabled and is_super:
        return Standing(None, Member(person, "super-admin"), consents, kind)
    if kind is not None and role not in MAY_BREAK_GLASS:
        return Standing("the user of this token may not have special access here")
    if not enabled or role is None:
        return Standing("the user of this token is no longer let in here")
    return Standing(None, Member(person, role, reference), consents, kind)
