"""One statement in a tenant, a transaction of several, and what becomes of failures."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from fhir_server import errors
from fhir_server.store.database import Clash, Database
from fhir_server.store.rids import Rids

INSERT = (
    "insert into resource (tenant_id, rid, type, id, version, updated, self_key, keys, body)"
    " values (%s, %s, 1, %s, 1, now(), %s, '{}', 'x')"
)


async def count(database: Database, tenant: int | None) -> int:
    rows = await database.fetch(tenant, "select count(*) from resource where type = 1")
    return int(rows[0][0])


async def insert(database: Database, tenant: int, id_: str, *, within: int | None = None) -> None:
    (rid,) = await Rids(database).take(1)
    async with database.transaction(within or tenant) as tx:
        tx.defer(INSERT, (tenant, rid, id_, rid))


async def test_a_tenant_sees_its_own_rows_alone(database: Database, tenants: tuple[int, int]) -> None:
    await insert(database, tenants[0], "a")
    assert [await count(database, tenant) for tenant in tenants] == [1, 0]


async def test_an_unset_tenant_sees_nothing(database: Database, tenants: tuple[int, int]) -> None:
    await insert(database, tenants[0], "a")
    assert await count(database, None) == 0
    async with database.transaction(None) as tx:
        assert await tx.fetch("select 1 from resource") == []


async def test_a_row_of_another_tenant_cannot_be_written(database: Database, tenants: tuple[int, int]) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await insert(database, tenants[1], "a", within=tenants[0])
    assert await count(database, tenants[1]) == 0


async def test_the_tenant_does_not_stay_on_the_connection(server_dsn: str, tenants: tuple[int, int]) -> None:
    single = await Database.open(server_dsn, max_size=1)
    await insert(single, tenants[0], "a")
    assert await single.fetch(None, "select nullif(current_setting('app.tenant', true), '')") == [(None,)]
    assert await count(single, None) == 0
    await single.close()


async def test_a_block_that_raises_leaves_nothing(database: Database, tenants: tuple[int, int]) -> None:
    async def stopped() -> None:
        async with database.transaction(tenants[0]) as tx:
            await tx.fetch(INSERT + " returning rid", (tenants[0], -tenants[0], "a", -1))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        await stopped()
    assert await count(database, tenants[0]) == 0


async def test_a_key_that_exists_is_a_conflict(database: Database, tenants: tuple[int, int]) -> None:
    await insert(database, tenants[0], "same")
    with pytest.raises(errors.Conflict, match="resource_type_id_key"):
        await insert(database, tenants[0], "same")
    await insert(database, tenants[1], "same")


async def test_what_was_done_since_a_savepoint_can_be_taken_back(database: Database, tenants: tuple[int, int]) -> None:
    tenant = tenants[0]
    first, second, third = await Rids(database).take(3)
    async with database.transaction(tenant) as tx:
        await tx.fetch(INSERT + " returning rid", (tenant, first, "kept", first))
        tx.defer("savepoint work")
        with pytest.raises(errors.Conflict):
            await tx.fetch(INSERT + " returning rid", (tenant, second, "kept", second))
        tx.defer(INSERT, (tenant, second, "forgotten", second))
        tx.rollback_to("work")
        tx.defer(INSERT, (tenant, third, "also kept", third))
    rows = await database.fetch(tenant, "select id from resource order by id")
    assert rows == [("also kept",), ("kept",)]


async def test_a_transaction_that_failed_unseen_does_not_pass_for_committed(
    database: Database, tenants: tuple[int, int]
) -> None:
    async def unseen() -> None:
        async with database.transaction(tenants[0]) as tx:
            with pytest.raises(psycopg.errors.DivisionByZero):
                await tx.fetch("select 1 / 0")

    with pytest.raises(errors.Busy):
        await unseen()


async def test_a_statement_that_takes_too_long_is_busy(server_dsn: str) -> None:
    hasty = await Database.open(server_dsn, statement_timeout_ms=20)
    with pytest.raises(errors.Busy, match="time for one statement"):
        await hasty.fetch(None, "select pg_sleep(10)")
    assert await hasty.fetch(None, "select 1") == [(1,)]
    await hasty.close()


async def test_two_transactions_that_wait_for_each_other_end_in_one_busy(database: Database) -> None:
    lock = "select pg_advisory_xact_lock(%s)"
    met = asyncio.Barrier(2)

    async def take(first: int, second: int) -> None:
        async with database.transaction(None) as tx:
            await tx.fetch(lock, (first,))
            await met.wait()
            await tx.fetch(lock, (second,))

    outcomes = await asyncio.gather(take(11, 12), take(12, 11), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {type(None), Clash}


async def test_numbers_for_resources_are_never_given_twice(database: Database, server_dsn: str) -> None:
    other = await Database.open(server_dsn)
    mine, others = Rids(database), Rids(other)
    taken = [await which.take(n) for which, n in ((mine, 300), (others, 2), (mine, 1), (others, 600))]
    numbers = [rid for block in taken for rid in block]
    assert [len(block) for block in taken] == [300, 2, 1, 600]
    assert len(set(numbers)) == len(numbers)
    await other.close()


async def test_a_transaction_serves_one_task_at_a_time_and_only_in_its_block(database: Database) -> None:
    async with database.transaction(None) as tx:
        outcomes = await asyncio.gather(*(tx.fetch("select 1") for _ in range(2)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [list, RuntimeError]
    with pytest.raises(RuntimeError, match="ended"):
        await tx.fetch("select 1")


async def test_a_failure_tells_nothing_of_the_rows(database: Database, tenants: tuple[int, int]) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as told:
        await database.fetch(None, "insert into tenant (name) values ('Secret Name')")
    assert "tenant_name_check" in str(told.value)
    assert "Secret" not in str(told.value)
    await insert(database, tenants[0], "secret-id")
    with pytest.raises(errors.Conflict) as conflict:
        await insert(database, tenants[0], "secret-id")
    assert "secret" not in f"{conflict.value} {conflict.value.__cause__}"


async def test_what_the_connection_string_asks_for_wins(server_dsn: str) -> None:
    dsn = psycopg.conninfo.make_conninfo(server_dsn, options="-c statement_timeout=7s", application_name="mine")
    opened = await Database.open(dsn, statement_timeout_ms=1000)
    sql = (
        "select current_setting('statement_timeout'), current_setting('application_name'), current_setting('timezone')"
    )
    assert await opened.fetch(None, sql) == [("7s", "mine", "UTC")]
    await opened.close()
