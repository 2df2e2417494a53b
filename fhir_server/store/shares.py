"""Which keys many rows hold, as PostgreSQL's own statistics tell: what the planner cannot know of a search, it does.

https://www.postgresql.org/docs/18/view-pg-stats.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

import msgspec
import psycopg

from fhir_server.errors import Busy
from fhir_server.store.database import Database

_SQL = "select * from key_statistics()"
# Statistics change when a table has grown by a twentieth.
_GOOD_FOR = 60.0
# Of a new database there are none at first.
_ASK_AGAIN = 5.0


class Shares(msgspec.Struct, frozen=True):
    """How many resources there are in all tenants, and which share of them holds each of the common keys."""

    rows: int = 0
    of: Mapping[int, float] = MappingProxyType({})


class KnownShares:
    """The newest shares that are known; use it on one event loop."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known = Shares()
        self._until = 0.0

    async def now(self) -> Shares:
        """Return the shares; those of before while somebody asks anew, none where the database does not tell."""
        time = asyncio.get_running_loop().time()
        if time >= self._until:
            self._until = time + _ASK_AGAIN
            self._known = await self._asked()
            self._until = time + (_GOOD_FOR if self._known.of else _ASK_AGAIN)
        return self._known

    async def _asked(self) -> Shares:
        try:
            ((rows, keys, shares),) = await self._db.fetch(None, _SQL)
        except Busy:
            return self._known
        except (psycopg.errors.UndefinedFunction, psycopg.errors.InsufficientPrivilege):
            return Shares()
        return Shares(rows, dict(zip(keys, shares, strict=True))) if keys else Shares()
