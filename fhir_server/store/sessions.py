"""Sessions of people who signed in, by the hash of the token in their cookie; shared by all processes."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from fhir_server.store import opaque
from fhir_server.store.database import Database, Tx

# A session that is used is written down as used no more often than this.
TOUCHED_EVERY = timedelta(seconds=20)


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session and its person; `verified` is None as long as the second factor is missing."""

    hash: bytes
    person: int
    sub: str
    email: str
    name: str
    super_admin: bool
    created: datetime
    seen: datetime
    expires: datetime
    verified: datetime | None
    method: str
    address: str | None
    agent: str | None
    challenge: bytes | None
    enrolling: bytes | None


_PERSON = "p.id, p.sub, p.email, p.name, p.super_admin"
_OWN = ("created", "seen", "expires", "verified", "method", "address", "agent", "challenge", "enrolling")
_SELECT = f"select s.hash, {_PERSON}, {', '.join(f's.{name}' for name in _OWN)} from session s join person p on p.id = s.person_id"  # noqa: S608, E501
_LIVE = "s.expires > %s and s.seen > %s and p.disabled is null"
_ADD = """
insert into session (hash, person_id, created, seen, expires, verified, method, address, agent)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A session to begin: `verified` None where the second factor is still to come."""

    person: int
    now: datetime
    expires: datetime
    verified: datetime | None
    method: str
    address: str | None
    agent: str | None


def begin(tx: Tx, start: Start) -> str:
    """Queue a session and return its token."""
    token = opaque.new()
    times = (start.now, start.now, start.expires, start.verified)
    tx.defer(_ADD, (opaque.hashed(token), start.person, *times, start.method, start.address, start.agent))
    return token


async def find(db: Database, token: str, now: datetime, idle: timedelta) -> Session | None:
    """Return the live session of a token; None for any other text."""
    sql = f"{_SELECT} where s.hash = %s and {_LIVE}"
    rows = await db.fetch(None, sql, (opaque.hashed(token), now, now - idle))
    return _session(rows[0]) if rows else None


async def touch(db: Database, hash_: bytes, now: datetime) -> None:
    """Note that a session is used."""
    await db.fetch(None, "update session set seen = greatest(seen, %s) where hash = %s", (now, hash_))


async def lives(tx: Tx, hash_: bytes, now: datetime, idle: timedelta) -> bool:
    """Tell whether the session of this hash still lasts, so that what was given for it does."""
    sql = f"""
        select 1 from session s join person p on p.id = s.person_id
        where s.hash = %s and s.verified is not null and {_LIVE}
    """  # noqa: S608
    return bool(await tx.fetch(sql, (hash_, now, now - idle)))


async def of_person(db: Database, person: int, now: datetime, idle: timedelta) -> list[Session]:
    """Return the live sessions of a person, the last used first."""
    sql = f"{_SELECT} where s.person_id = %s and {_LIVE} order by s.seen desc, s.hash"
    return [_session(row) for row in await db.fetch(None, sql, (person, now, now - idle))]


def end(tx: Tx, hash_: bytes, person: int | None = None) -> None:
    """Queue the end of a session, `person`'s where one is given."""
    sql = "delete from session where hash = %s and person_id = coalesce(%s::bigint, person_id)"
    tx.defer(sql, (hash_, person))


def end_all(tx: Tx, person: int, but: bytes = b"") -> None:
    """Queue the end of all sessions of a person, `but` for one."""
    tx.defer("delete from session where person_id = %s and hash <> %s", (person, but))


def forget_old(tx: Tx, now: datetime, idle: timedelta) -> None:
    """Queue the removal of sessions that are over by themselves."""
    tx.defer("delete from session where expires <= %s or seen <= %s", (now, now - idle))


async def challenge(db: Database, hash_: bytes, value: bytes) -> None:
    """Remember what a security key was asked to sign."""
    await db.fetch(None, "update session set challenge = %s where hash = %s", (value, hash_))


async def take_challenge(db: Database, hash_: bytes) -> bytes | None:
    """Return what a security key was asked to sign, once: of two answers that come together, one gets it."""
    sql = """
        update session s set challenge = null from (select hash, challenge from session where hash = %s for update) old
        where s.hash = old.hash and old.challenge is not null returning old.challenge
    """
    rows = await db.fetch(None, sql, (hash_,))
    return rows[0][0] if rows else None


async def enrolling(db: Database, hash_: bytes, secret: bytes | None) -> None:
    """Remember the secret of an authenticator app that is being set up, or forget it."""
    await db.fetch(None, "update session set enrolling = %s where hash = %s", (secret, hash_))


def _session(row: tuple[object, ...]) -> Session:
    return msgspec.convert(dict(zip(Session.__struct_fields__, row, strict=True)), Session)
