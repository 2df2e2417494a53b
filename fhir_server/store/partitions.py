"""Days of the inbox and of the audit: each is a partition, made before it begins."""

from __future__ import annotations

from datetime import date

from fhir_server.store.database import Database


async def ensure_days(db: Database, first: date, days: int = 7) -> int:
    """Make the partitions of these days, where they are missing, and return how many were made.

    What came before its day was made, and so lies in the default partition, moves to it. Raises errors.Busy.
    """
    rows = await db.fetch(None, "select ensure_days(%s::date, %s::int)", (first, days))
    return int(rows[0][0])
