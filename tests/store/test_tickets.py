"""Tickets in order, under load: nothing waits for ever, nothing is done twice, a claim stays cheap."""

from __future__ import annotations

import asyncio
import random

import psycopg
import pytest

from fhir_server.store import inbox, tickets
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.tickets import MESSAGE
from tests.postgres import new_tenants
from tests.store.letters import letter, process
from tests.store.rows import NOW


@pytest.fixture
async def tenant(fresh_database: Database) -> int:
    (made,) = await new_tenants(fresh_database, 1)
    return made


async def test_accepting_and_processing_at_once_loses_nothing_and_keeps_every_order(
    fresh_database: Database, tenant: int
) -> None:
    """Orders run empty and fill again all the time, which is when a ticket could be left waiting for ever."""
    done: list[str] = []
    sending = True

    async def sender(order: int) -> None:
        for n in range(40):
            await inbox.accept(fresh_database, tenant, [letter(f"{order}-{n}", order)])
            await asyncio.sleep(random.random() / 500)

    async def worker() -> None:
        while True:
            stopping = not sending
            control_id = await process(fresh_database)
            if control_id:
                done.append(control_id)
            elif stopping:
                return
            else:
                await asyncio.sleep(0.001)

    workers = [asyncio.create_task(worker()) for _ in range(3)]
    await asyncio.gather(*(sender(order) for order in range(3)))
    sending = False
    await asyncio.gather(*workers)
    for order in range(3):
        assert [c for c in done if c.startswith(f"{order}-")] == [f"{order}-{n}" for n in range(40)]
    assert len(done) == 120
    assert await fresh_database.fetch(None, "select count(*) from job_ticket") == [(0,)]


async def test_an_accepted_message_wakes_who_listens(
    fresh_database: Database, tenant: int, postgres: EmbeddedPostgres, fresh_name: str
) -> None:
    dsn = postgres.server_dsn(fresh_name)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as listener:
        await listener.execute(f"listen {tickets.CHANNEL}".encode())
        await inbox.accept(fresh_database, tenant, [letter("1")])
        heard = [notice.channel async for notice in listener.notifies(timeout=30, stop_after=1)]
    assert heard == [tickets.CHANNEL]


FILL = """
insert into job_ticket (tenant_id, kind, received, target, order_hash, queued, due, rank)
select %s, 1, now(), n, {order}, now(), {due}, {rank} from generate_series(1, 100000) n
"""
PAST = "timestamptz '2026-01-01'"


@pytest.mark.parametrize(
    ("order", "due", "rank"),
    [
        pytest.param("n", f"{PAST} + n * interval '1 second'", "null", id="each of an order of its own, all late"),
        pytest.param("n", PAST, f"{PAST} - mod(n, 3) * interval '1 day'", id="of three priorities"),
        pytest.param("7", f"case when n = 1 then {PAST} end", f"case when n = 1 then {PAST} end", id="of one order"),
        pytest.param("n", "timestamptz '2036-01-01'", "null", id="all to be tried again later"),
    ],
)
async def test_a_claim_stays_cheap_with_a_hundred_thousand_waiting(
    fresh_database: Database, tenant: int, order: str, due: str, rank: str
) -> None:
    await fresh_database.fetch(None, FILL.format(order=order, due=due, rank=rank), (tenant,))
    async with fresh_database.transaction(None) as tx:
        await tickets.claim(tx, MESSAGE, NOW)
        explain = "explain (analyze, buffers, format json) "
        async with fresh_database.transaction(None) as other:
            ((plan,),) = await other.fetch(explain + tickets._CLAIM, (MESSAGE, NOW) * 2)
            params = (*(MESSAGE, NOW) * 2, NOW, 16) * 2
            ((several,),) = await other.fetch(explain + tickets._CLAIM_SEVERAL, params)
    for found, most in ((plan, 40), (several, 150)):
        assert found[0]["Plan"]["Shared Hit Blocks"] + found[0]["Plan"]["Shared Read Blocks"] < most
