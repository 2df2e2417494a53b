"""Resource rows for the tests of the store: small, with index entries of every kind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from fhir_server.store.database import Database
from fhir_server.store.resources import Current, Rids, Write, current, write

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PATIENT, OBSERVATION = 1, 2


class Entries(msgspec.Struct, kw_only=True):
    """Index entries as the search package makes them."""

    keys: list[int] = []
    dates: list[tuple[int, datetime, datetime]] = []
    strings: list[tuple[int, str]] = []
    numbers: list[tuple[int, float, float]] = []
    composites: list[tuple[int, float, float, float, float, str, str]] = []
    words: list[tuple[str]] = []
    patient: int | None = None
    class_: int | None = None


def entries(number: int) -> Entries:
    """Return entries of every kind that differ from number to number."""
    moment = NOW + timedelta(days=number)
    return Entries(
        keys=[number * 10 + n for n in range(3)],
        dates=[(1, moment, moment), (2, moment, moment)],
        strings=[(3, f"name{number}"), (3, f"other{number}")],
        numbers=[(4, float(number), number + 0.5)],
        words=[(f"1.1.word{number}:1A,2 1.1.other:3",)],
        composites=[(number, 1.0, 2.0, 0.0, 0.0, "", "{1,2}"), (number, 1.0, 2.0, 0.0, 0.0, "x", "{3}")],
        patient=number,
    )


def new(rid: int, id_: str, *, self_key: int | None = None, found: Entries | None = None, body: bytes = b"{}") -> Write:
    """Return a first version."""
    key = rid + 1_000_000 if self_key is None else self_key
    return Write(rid, PATIENT, id_, 1, NOW, body, found or entries(rid), key)


def next_version(row: Current, body: bytes | None, found: Entries | None) -> Write:
    """Return the version after `row`; without body and entries its deletion."""
    updated = row.updated + timedelta(seconds=1)
    return Write(row.rid, row.type, row.id, row.version + 1, updated, body, found, row.self_key, row)


async def create(database: Database, tenant: int, *ids: str, found: Entries | None = None) -> list[Write]:
    """Write first versions with these ids in one transaction."""
    rids = await Rids(database).take(len(ids))
    writes = [new(rid, id_, found=found) for rid, id_ in zip(rids, ids, strict=True)]
    async with database.transaction(tenant) as tx:
        write(tx, writes)
    return writes


async def replace(database: Database, tenant: int, self_key: int, body: bytes | None, found: Entries | None) -> Current:
    """Write the next version of a row and return the row it replaced."""
    async with database.transaction(tenant) as tx:
        row = (await current(tx, [self_key]))[self_key]
        write(tx, [next_version(row, body, found)])
    return row
