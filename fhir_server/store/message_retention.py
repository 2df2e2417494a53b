"""Messages whose time is over: whole days are dropped where nothing of them is to be kept, otherwise the rows go.

What is still to be processed always stays. What waits for a person, buried or quarantined, has a limit of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

import msgspec

from fhir_server.store.database import Database

_DAYS = """
select to_date(right(relname, 8), 'YYYYMMDD') from pg_class
where relkind = 'r' and relname ~ '^inbox_[0-9]{8}$' and relnamespace = 'public'::regnamespace
    and to_date(right(relname, 8), 'YYYYMMDD') < least(%s::date, (now() at time zone 'UTC')::date - 1) order by 1
"""
_RETAIN = """
select * from retain_messages(%s::date, %s::int[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::int, %s)
"""
# Rows of a tenant that one transaction deletes.
_TOGETHER = 5_000


class Limit(msgspec.Struct, frozen=True):
    """Messages before `others` go, and those that wait for a person before `waiting`."""

    others: datetime
    waiting: datetime


class Gone(msgspec.Struct, frozen=True):
    """Messages of a day, tenant and state: how many go, how many stay, and whether the whole day was dropped."""

    day: date
    tenant_id: int
    state: str
    gone: int
    kept: int
    dropped: bool


async def days(db: Database, before: date) -> list[date]:
    """Return the days before this one of which there may be messages, the oldest first."""
    return [day for (day,) in await db.fetch(None, _DAYS, (before,))]


async def retain(
    db: Database, day: date, limits: Mapping[tuple[int, str], Limit], rest: Limit, *, really: bool
) -> list[Gone]:
    """Let the messages of a day go whose time is over, by tenant and channel, and tell how many; without `really` only
    tell. Raises errors.Busy where the day is in use."""
    owners, names = [owner for owner, _ in limits], [name for _, name in limits]
    every = [*limits.values(), rest]
    given = (day, owners, names, [one.others for one in every], [one.waiting for one in every], _TOGETHER)
    told = first = [Gone(day, *row) for row in await db.fetch(None, _RETAIN, (*given, really))]
    while really and any(one.gone > _TOGETHER and not one.dropped for one in told):
        told = [Gone(day, *row) for row in await db.fetch(None, _RETAIN, (*given, True))]
    return first
