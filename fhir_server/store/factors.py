"""Second factors of people: authenticator apps, security keys, recovery codes. A code or signature counts once."""

from __future__ import annotations

from datetime import datetime

import msgspec

from fhir_server.store.database import Database, Tx


class Factor(msgspec.Struct, frozen=True):
    """A second factor; of an app `secret` (sealed), of a security key `credential` and `public_key` are set."""

    id: int
    kind: str
    name: str
    secret: bytes | None
    credential: bytes | None
    public_key: bytes | None
    counter: int
    created: datetime
    used: datetime | None


_COLUMNS = ", ".join(Factor.__struct_fields__)
_ADD = """
insert into factor (person_id, kind, name, secret, credential, public_key, counter, created)
values (%s, %s, %s, %s, %s, %s, %s, %s)
"""


async def of_person(db: Database, person: int) -> list[Factor]:
    """Return the factors of a person, the oldest first."""
    sql = f"select {_COLUMNS} from factor where person_id = %s order by id"  # noqa: S608
    return [Factor(*row) for row in await db.fetch(None, sql, (person,))]


def add_app(tx: Tx, person: int, name: str, secret: bytes, step: int, now: datetime) -> None:
    """Queue an authenticator app; `step` is that of the code which proved it."""
    tx.defer(_ADD, (person, "totp", name, secret, None, None, step, now))


def add_key(tx: Tx, person: int, name: str, credential: bytes, public_key: bytes, counter: int, now: datetime) -> None:
    """Queue a security key; the transaction fails with Conflict where its credential is known."""
    tx.defer(_ADD, (person, "webauthn", name, None, credential, public_key, counter, now))


async def step_on(tx: Tx, factor: int, counter: int, now: datetime) -> bool:
    """Mark a code's step as used; False where it or a later one was used before, by any process."""
    sql = "update factor set counter = %s, used = %s where id = %s and counter < %s returning id"
    return bool(await tx.fetch(sql, (counter, now, factor, counter)))


async def counted(tx: Tx, factor: Factor, counter: int, now: datetime) -> bool:
    """Store a security key's new counter; False where another sign-in was quicker."""
    sql = "update factor set counter = %s, used = %s where id = %s and counter = %s returning id"
    return bool(await tx.fetch(sql, (counter, now, factor.id, factor.counter)))


def remove(tx: Tx, person: int, factor: int) -> None:
    """Queue the removal of one factor of a person."""
    tx.defer("delete from factor where person_id = %s and id = %s", (person, factor))


def remove_all(tx: Tx, person: int) -> None:
    """Queue the removal of all factors and recovery codes of a person."""
    tx.defer("delete from factor where person_id = %s", (person,))
    tx.defer("delete from recovery_code where person_id = %s", (person,))


def set_codes(tx: Tx, person: int, hashes: list[bytes], now: datetime) -> None:
    """Queue new recovery codes in place of all old ones."""
    tx.defer("delete from recovery_code where person_id = %s", (person,))
    sql = "insert into recovery_code (person_id, hash, created) select %s, hash, %s from unnest(%s::bytea[]) hash"
    tx.defer(sql, (person, now, hashes))


async def use_code(tx: Tx, person: int, hash_: bytes, now: datetime) -> bool:
    """Use a recovery code up; False where it is none or was used."""
    sql = "update recovery_code set used = %s where person_id = %s and hash = %s and used is null returning 1"
    return bool(await tx.fetch(sql, (now, person, hash_)))


async def codes_left(db: Database, person: int) -> int:
    """Return how many recovery codes a person still has."""
    sql = "select count(*) from recovery_code where person_id = %s and used is null"
    return int((await db.fetch(None, sql, (person,)))[0][0])


async def kinds(tx: Tx, person: int) -> list[str]:
    """Return the kinds of the factors of a person."""
    return [kind for (kind,) in await tx.fetch("select distinct kind from factor where person_id = %s", (person,))]


async def apps(tx: Tx, person: int) -> list[Factor]:
    """Return the authenticator apps of a person."""
    sql = f"select {_COLUMNS} from factor where person_id = %s and kind = 'totp' order by id"  # noqa: S608
    return [Factor(*row) for row in await tx.fetch(sql, (person,))]


async def locked(tx: Tx, person: int) -> list[int]:
    """Return the numbers of a person's factors; another transaction that asks so waits for this one's end."""
    tx.defer("select 1 from person where id = %s for update", (person,))
    return [id_ for (id_,) in await tx.fetch("select id from factor where person_id = %s order by id", (person,))]
