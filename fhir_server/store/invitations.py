"""Invitations and resets: links that are good once, for a while, stored as hashes."""

from __future__ import annotations

from datetime import datetime

import msgspec

from fhir_server.store import opaque
from fhir_server.store.database import Database, Tx


class Invitation(msgspec.Struct, frozen=True):
    """An open invitation of a person; `clears_factors` takes their second factors away when it is accepted."""

    hash: bytes
    person: int
    email: str
    name: str
    clears_factors: bool
    expires: datetime


_FIND = """
select i.hash, p.id, p.email, p.name, i.clears_factors, i.expires from invitation i join person p on p.id = i.person_id
where i.hash = %s and i.used is null and i.expires > %s and p.disabled is null
"""


def invite(tx: Tx, person: int, now: datetime, expires: datetime, *, clears_factors: bool = False) -> str:
    """Queue an invitation in place of the person's earlier ones and return its token."""
    token = opaque.new()
    tx.defer("update invitation set used = %s where person_id = %s and used is null", (now, person))
    sql = "insert into invitation (hash, person_id, clears_factors, created, expires) values (%s, %s, %s, %s, %s)"
    tx.defer(sql, (opaque.hashed(token), person, clears_factors, now, expires))
    return token


def void_resets(tx: Tx, person: int, now: datetime) -> None:
    """Queue that open links of a person who has a password are no longer good; whoever has none needs theirs."""
    sql = """
        update invitation set used = %s where person_id = %s and used is null
        and exists (select from person p where p.id = person_id and p.password is not null)
    """
    tx.defer(sql, (now, person))


async def find(db: Database, token: str, now: datetime) -> Invitation | None:
    """Return the open invitation of a link, or None."""
    rows = await db.fetch(None, _FIND, (opaque.hashed(token), now))
    return Invitation(*rows[0]) if rows else None


async def use(tx: Tx, hash_: bytes, now: datetime) -> bool:
    """Use an invitation up; False where another was quicker."""
    sql = "update invitation set used = %s where hash = %s and used is null and expires > %s returning 1"
    return bool(await tx.fetch(sql, (now, hash_, now)))
