"""Rows of the audit that wait are committed together; each caller goes on when its own are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fhir_server.errors import Busy
from fhir_server.store import audit
from fhir_server.store.database import Database
from fhir_server.store.recorder import Recorder, Row
from tests.store.rows import NOW


def row(tenant: int, action: str = "read", *, token: str | None = None) -> Row:
    return (
        str(tenant),
        NOW,
        action,
        "s",
        "c",
        200,
        "r",
        1,
        "x",
        1,
        -5,
        None,
        token,
        b"GET \x00",
        "::1",
        {"outcome": "\0"},
    )


async def actions(database: Database, tenant: int) -> list[str]:
    rows = await database.fetch(tenant, "select action from audit where tenant_id = %s order by id", (tenant,))
    return [action for (action,) in rows]


async def test_rows_that_arrive_together_share_commits(
    database: Database, tenants: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, sent = Recorder(database), []
    fetch = database.fetch_aside

    async def counting(sql: str, params: Any = ()) -> Any:
        sent.append(sql)
        return await fetch(sql, params)

    monkeypatch.setattr(database, "fetch_aside", counting)
    await asyncio.gather(*(recorder.record([row(tenants[n % 2], f"a{n}")]) for n in range(50)))
    assert len(sent) == 2
    assert await actions(database, tenants[0]) == [f"a{n}" for n in range(0, 50, 2)]
    assert await actions(database, tenants[1]) == [f"a{n}" for n in range(1, 50, 2)]


async def test_no_batch_is_larger_than_the_limit_unless_one_request_is(
    database: Database, tenants: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, sizes = Recorder(database, most=10), []
    commit = Recorder._commit

    async def counting(self: Recorder, rows: Any) -> None:
        sizes.append(len(rows))
        await commit(self, rows)

    monkeypatch.setattr(Recorder, "_commit", counting)
    asked = [recorder.record([row(tenants[0])] * size) for size in (1, 4, 4, 4, 30, 1)]
    await asyncio.gather(*asked)
    assert sizes == [1, 8, 4, 30, 1]


async def test_rows_that_the_database_refuses_fail_alone(database: Database, tenants: tuple[int, ...]) -> None:
    recorder = Recorder(database)
    wrong = (*row(tenants[0])[:5], 10**9, *row(tenants[0])[6:])  # an outcome that is no smallint
    first = asyncio.create_task(recorder.record([row(tenants[0], "first")]))
    others = [recorder.record([row(tenants[0], "good")]), recorder.record([wrong]), recorder.record([row(tenants[0])])]
    await first
    told = await asyncio.gather(*others, return_exceptions=True)
    assert [type(one) for one in told] == [type(None), Busy, type(None)]
    assert await actions(database, tenants[0]) == ["first", "good", "read"]


async def test_who_leaves_while_waiting_keeps_nobody_from_the_rest(
    database: Database, tenants: tuple[int, ...]
) -> None:
    recorder = Recorder(database)
    first = asyncio.create_task(recorder.record([row(tenants[0], "first")]))
    left = asyncio.create_task(recorder.record([row(tenants[0], "left")]))
    stays = asyncio.create_task(recorder.record([row(tenants[0], "stays")]))
    await asyncio.sleep(0)
    first.cancel()
    left.cancel()
    await stays
    await recorder.record([row(tenants[0], "next")])
    assert [one for one in await actions(database, tenants[0]) if one in ("left", "stays", "next")] == ["stays", "next"]


async def test_without_the_database_it_is_busy_and_mends_itself(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(fresh_database)
    ((tenant,),) = await fresh_database.fetch(None, "insert into tenant (name) values ('t') returning id")
    await recorder.record([row(tenant)])
    # Its connection ends in the middle of what it does.
    sql = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
    await fresh_database.fetch(None, f"{sql} and datname = current_database() and usename = current_user")
    for attempt in range(50):
        try:
            await recorder.record([row(tenant)])
            break
        except Busy:
            assert attempt < 49
    assert await actions(fresh_database, tenant) == ["read", "read"]


async def test_a_row_counts_in_the_tenant_it_names_and_no_other(database: Database, tenants: tuple[int, ...]) -> None:
    """Each row of a statement sets its own tenant before row-level security looks at it."""
    async with database.transaction(tenants[0]) as tx:
        tx.defer(*audit.statement([row(tenants[0], "mine"), row(tenants[1], "theirs"), row(tenants[0], "mine")]))
    assert await actions(database, tenants[0]) == ["mine", "mine"]
    assert await actions(database, tenants[1]) == ["theirs"]
