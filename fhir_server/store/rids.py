"""Numbers for new resources, from blocks of the sequence: one round trip for 256 of them."""

from __future__ import annotations

import asyncio

from fhir_server.store.database import Database

# As many numbers as the sequence gives at a time.
RID_BLOCK = 256


class Rids:
    """Hands out numbers that nobody else has; those of an abandoned transaction are simply lost."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._ready: list[int] = []
        self._refill = asyncio.Lock()

    async def take(self, count: int) -> list[int]:
        """Return `count` numbers. Raises errors.Busy."""
        while len(self._ready) < count:
            await self._fill(count)
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken

    async def _fill(self, count: int) -> None:
        async with self._refill:
            # Whoever had the lock before may have brought enough for us too.
            blocks = -(-(count - len(self._ready)) // RID_BLOCK)
            if blocks > 0:
                sql = "select nextval('resource_rid') from generate_series(1, %s)"
                for (first,) in await self._db.fetch_aside(sql, (blocks,)):
                    self._ready.extend(range(first, first + RID_BLOCK))
