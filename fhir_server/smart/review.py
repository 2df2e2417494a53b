"""The review of access: who has which role in a clinic and how far it reaches, which programs may what, and who was
let in beyond that. 45 CFR 164.308(a)(4)(ii)(C), access establishment and modification.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from fhir_server.context import Context
from fhir_server.errors import Forbidden
from fhir_server.search.hashing import Hasher
from fhir_server.smart.roles import RULES
from fhir_server.smart.scopes import is_whole
from fhir_server.store import clients, people, reviews, special
from fhir_server.store.database import Database
from fhir_server.store.reviews import Reach
from fhir_server.store.special import Access


class Program(msgspec.Struct, frozen=True):
    """A client of the clinic, and the most that it may be granted."""

    client_id: str
    name: str
    scope: str
    created: datetime
    disabled: datetime | None


class Review(msgspec.Struct, frozen=True):
    """Everybody's access to a clinic at a moment; `rules` are those of each role, `special` is of the last days."""

    tenant: str
    at: datetime
    members: Sequence[Reach]
    rules: dict[str, list[str]]
    programs: Sequence[Program]
    special: Sequence[Access]


async def review(db: Database, hasher: Hasher, ctx: Context, since: timedelta) -> Review:
    """Return the review; raise Forbidden but for the clinic's admin and a client that may do everything."""
    _require(ctx)
    tenant = ctx.tenant
    keys = {
        one.person.id: hasher.self_key(tenant.id, *one.reference.split("/", 1))
        for one in await people.listed(db, tenant.id)
        if one.reference and one.reference.startswith("Practitioner/")
    }
    programs = [
        Program(one.client_id, one.name, one.scope, one.created, one.disabled)
        for one in await clients.all_of(db, tenant.id)
    ]
    members = await reviews.members(db, tenant.id, keys, ctx.now)
    rules = {role: [rule.name for rule in RULES if role in rule.roles] for role in sorted({m.role for m in members})}
    opened = await special.listed(db, tenant.id, since=ctx.now - since)
    return Review(tenant.name, ctx.now, members, rules, programs, opened)


def _require(ctx: Context) -> None:
    grant = ctx.grant
    runs, sees = is_whole(grant.scopes, "system", "cruds"), is_whole(grant.scopes, "user")
    if grant.purpose or not (sees and grant.member.role == "clinic-admin" if grant.member else runs):
        raise Forbidden("the review of access is for the clinic's admin")
