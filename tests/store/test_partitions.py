"""Days of inbox, its keys, deliveries and audit are made ahead, by the server's role that may make nothing else."""

from __future__ import annotations

import asyncio
from datetime import date

import psycopg
import pytest

from fhir_server.store import inbox
from fhir_server.store.database import Database
from fhir_server.store.partitions import ensure_days
from tests.postgres import new_tenants
from tests.store.letters import drain, letter
from tests.store.rows import NOW

WHERE = "select tableoid::regclass::text, control_id from inbox order by id"


async def test_days_are_made_once(fresh_database: Database) -> None:
    assert await ensure_days(fresh_database, date(2030, 1, 1), 3) == 15
    assert await ensure_days(fresh_database, date(2030, 1, 2), 3) == 5


async def test_many_processes_may_ask_at_once(fresh_database: Database) -> None:
    made = await asyncio.gather(*(ensure_days(fresh_database, date(2030, 1, 1), 2) for _ in range(6)))
    assert sum(made) == 10


@pytest.mark.parametrize("days", [0, 401])
async def test_nobody_can_fill_the_database_with_days(fresh_database: Database, days: int) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="1 to 400"):
        await ensure_days(fresh_database, date(2030, 1, 1), days)


async def test_what_came_before_its_day_was_made_moves_to_it(fresh_database: Database) -> None:
    (tenant,) = await new_tenants(fresh_database, 1)
    await inbox.accept(fresh_database, tenant, [letter("1"), letter("2", ack=None)])
    assert await fresh_database.fetch(tenant, WHERE) == [("inbox_default", "1"), ("inbox_default", "2")]
    await ensure_days(fresh_database, NOW.date(), 1)
    day = f"inbox_{NOW:%Y%m%d}"
    assert await fresh_database.fetch(tenant, WHERE) == [(day, "1"), (day, "2")]
    assert await fresh_database.fetch(None, WHERE) == []
    await inbox.accept(fresh_database, tenant, [letter("3")])
    assert await drain(fresh_database) == ["1", "2", "3"]
