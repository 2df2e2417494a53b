"""Failures to sign in, counted in the database, so that a guesser gains nothing by asking several processes at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec

from fhir_server.store.database import Database, Tx

Wait = Callable[[str, int], timedelta]


class Tried(msgspec.Struct, frozen=True):
    """Whose try it is: an `account`, an `address` or the `factor` of a person, each by a hash."""

    kind: str
    key: bytes


_INSERT = """
insert into sign_in_failure (kind, key, failures, at, until)
select kind, key, 0, %s, %s from unnest(%s::text[], %s::bytea[]) t (kind, key) on conflict do nothing
"""
_LOCK = """
select f.kind, f.key, f.failures, f.at, f.until from sign_in_failure f
join unnest(%s::text[], %s::bytea[]) t (kind, key) on t.kind = f.kind and t.key = f.key
order by f.kind, f.key for update of f
"""
_COUNT = """
update sign_in_failure f set failures = t.failures, at = %s, until = t.until
from unnest(%s::text[], %s::bytea[], %s::int[], %s::timestamptz[]) t (kind, key, failures, until)
where f.kind = t.kind and f.key = t.key
"""


async def reserve(
    db: Database, tried: Sequence[Tried], wait: Wait, memory: timedelta, now: datetime
) -> timedelta | None:
    """Count a try as failed before it is made; return how long to wait where there may be none yet.

    Who succeeds takes it back by `forgive`. A guess made many times at once is so counted as many times.
    """
    kinds, keys = [t.kind for t in tried], [t.key for t in tried]
    async with db.transaction(None) as tx:
        tx.defer(_INSERT, (now, now, kinds, keys))
        rows = await tx.fetch(_LOCK, (kinds, keys))
        longest = max((until - now for *_, until in rows), default=timedelta())
        if longest > timedelta():
            return longest
        counts = [1 if at < now - memory else failures + 1 for _, _, failures, at, _ in rows]
        until = [now + wait(row[0], count) for row, count in zip(rows, counts, strict=True)]
        tx.defer(_COUNT, (now, [row[0] for row in rows], [row[1] for row in rows], counts, until))
    return None


def forgive(tx: Tx, tried: Tried) -> None:
    """Queue that a try was no failure, and with it the earlier ones are forgotten."""
    tx.defer("delete from sign_in_failure where kind = %s and key = %s", (tried.kind, tried.key))


def take_back(tx: Tx, tried: Tried, now: datetime) -> None:
    """Queue that one try was no failure; the earlier ones stay, for they may have been of other accounts."""
    sql = "update sign_in_failure set failures = greatest(failures - 1, 0), until = %s where kind = %s and key = %s"
    tx.defer(sql, (now, tried.kind, tried.key))


def forget_old(tx: Tx, before: datetime) -> None:
    """Queue the removal of failures older than their memory."""
    tx.defer("delete from sign_in_failure where at < %s", (before,))
