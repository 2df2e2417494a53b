"""What a review of access looks at: each member's reach as numbers, and the programs of a clinic."""

from __future__ import annotations

from datetime import datetime

import msgspec

from fhir_server.store.database import Database


class Reach(msgspec.Struct, frozen=True):
    """A person with a place in the clinic; patients in their care, cases, and live grants of apps are counted."""

    email: str
    name: str
    role: str
    reference: str | None
    since: datetime
    disabled: datetime | None
    second_factor: bool
    last_signed_in: datetime | None
    patients: int
    cases: int
    apps: int


_REACH = """
select p.email, p.name, m.role, m.reference, m.created, p.disabled,
       exists (select from factor f where f.person_id = p.id),
       (select max(s.created) from session s where s.person_id = p.id and s.verified is not null),
       (select count(distinct c.patient) from care_relation c where c.tenant_id = %s and c.member = k.key
        and c.valid_from <= %s and (c.valid_to is null or c.valid_to > %s)),
       (select count(distinct a.case_key) from case_attorney a where a.tenant_id = %s and a.person_id = p.id
        and a.valid_from <= %s and (a.valid_to is null or a.valid_to > %s)),
       (select count(*) from oauth_grant g where g.tenant_id = %s and g.person_id = p.id and g.revoked is null
        and (g.expires is null or g.expires > %s))
from membership m join person p on p.id = m.person_id
     left join unnest(%s::bigint[], %s::bigint[]) as k (person, key) on k.person = p.id
where m.tenant_id = %s and m.ended is null order by p.email
"""


async def members(db: Database, tenant_id: int, keys: dict[int, int], now: datetime) -> list[Reach]:
    """Return the members of a clinic by address; `keys` are the self_keys of those who are Practitioners, by person."""
    moment = (tenant_id, now, now)
    values = (*moment, *moment, tenant_id, now, list(keys), list(keys.values()), tenant_id)
    return [Reach(*row) for row in await db.fetch(tenant_id, _REACH, values)]
