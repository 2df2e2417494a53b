"""Reads that arrive together share a statement, and each gets its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from fhir_server import errors
from fhir_server.store.database import Database
from fhir_server.store.loader import Loader, shown
from fhir_server.store.recorder import Row
from fhir_server.store.values import NulText
from tests.store.rows import NOW, PATIENT, create, entries, replace

Tenants = tuple[int, int]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int | None, Sequence[Any]]]:
    """Give the list of what was really sent, by tenant."""
    seen: list[tuple[int | None, Sequence[Any]]] = []
    fetch = Database.fetch

    async def noted(self: Database, tenant_id: int | None, sql: str, params: Sequence[Any] = (), **more: Any) -> Any:
        seen.append((tenant_id, params))
        return await fetch(self, tenant_id, sql, params, **more)

    monkeypatch.setattr(Database, "fetch", noted)
    return seen


async def test_one_read_is_one_statement(database: Database, tenants: Tenants) -> None:
    (made,) = await create(database, tenants[0], "a")
    row = await Loader(database).read(tenants[0], PATIENT, "a")
    assert row is not None
    assert (row.rid, row.body, row.keys) == (made.rid, b"{}", made.entries.keys if made.entries else None)
    assert await Loader(database).read(tenants[0], PATIENT, "b") is None


async def test_many_reads_at_once_are_few_statements_and_each_gets_its_own(
    database: Database, tenants: Tenants, sent: list[tuple[int | None, Sequence[Any]]]
) -> None:
    await create(database, tenants[0], *(f"p{n}" for n in range(100)))
    loader = Loader(database, most=40)
    rows = await asyncio.gather(*(loader.read(tenants[0], PATIENT, f"p{n}") for n in range(100)))
    assert [row.id if row else None for row in rows] == [f"p{n}" for n in range(100)]
    assert len(sent) == 4


async def test_the_same_row_asked_for_many_times_is_fetched_once_more(
    database: Database, tenants: Tenants, sent: list[tuple[int | None, Sequence[Any]]]
) -> None:
    await create(database, tenants[0], "a")
    loader = Loader(database)
    rows = await asyncio.gather(*(loader.read(tenants[0], PATIENT, "a") for _ in range(10)))
    assert {row.id for row in rows if row} == {"a"}
    assert [params[1] for _, params in sent[1:]] == [["a"]]


async def test_absent_and_deleted_rows_are_told_apart(database: Database, tenants: Tenants) -> None:
    _, gone = await create(database, tenants[0], "here", "gone")
    await replace(database, tenants[0], gone.self_key, None, None)
    loader = Loader(database)
    rows = await asyncio.gather(*(loader.read(tenants[0], PATIENT, id_) for id_ in ("here", "gone", "never", "gone")))
    assert [(row.id, row.body) if row else None for row in rows] == [
        ("here", b"{}"),
        ("gone", None),
        None,
        ("gone", None),
    ]


async def test_tenants_never_share_a_statement(
    database: Database, tenants: Tenants, sent: list[tuple[int | None, Sequence[Any]]]
) -> None:
    await create(database, tenants[0], "a", "b")
    await create(database, tenants[1], "b")
    loader = Loader(database)
    asked = [(tenant, id_) for id_ in ("a", "b", "a", "b") for tenant in tenants]
    rows = await asyncio.gather(*(loader.read(tenant, PATIENT, id_) for tenant, id_ in asked))
    found = [bool(row) for row in rows]
    assert found == [True, False, True, True] * 2
    assert {tenant for tenant, _ in sent} == set(tenants)


async def test_a_read_that_begins_after_a_write_sees_it(database: Database, tenants: Tenants) -> None:
    """Also where it joins others: what is under way when it arrives is not its own."""
    (made,) = await create(database, tenants[0], "a")
    loader = Loader(database)
    stop = False

    async def others() -> None:
        while not stop:
            await loader.read(tenants[0], PATIENT, "a")

    noise = [asyncio.create_task(others()) for _ in range(4)]
    for n in range(20):
        await replace(database, tenants[0], made.self_key, b"%d" % n, None)
        row = await loader.read(tenants[0], PATIENT, "a")
        assert row is not None
        assert row.body == b"%d" % n
    stop = True
    await asyncio.gather(*noise)


async def test_a_cancelled_reader_does_not_disturb_the_others(database: Database, tenants: Tenants) -> None:
    await create(database, tenants[0], *(f"p{n}" for n in range(9)))
    loader = Loader(database)
    for doomed in (0, 4, 8):
        tasks = [asyncio.create_task(loader.read(tenants[0], PATIENT, f"p{n}")) for n in range(9)]
        await asyncio.sleep(0)
        tasks[doomed].cancel()
        rows = await asyncio.gather(*tasks, return_exceptions=True)
        assert [getattr(row, "id", "cancelled") for n, row in enumerate(rows) if n != doomed] == [
            f"p{n}" for n in range(9) if n != doomed
        ]
        assert isinstance(rows[doomed], asyncio.CancelledError)


async def test_a_read_the_database_refuses_fails_alone(database: Database, tenants: Tenants) -> None:
    await create(database, tenants[0], "a", "b")
    loader = Loader(database)
    asked = ("a", "b", "nul\x00", "a")
    outcomes = await asyncio.gather(*(loader.read(tenants[0], PATIENT, id_) for id_ in asked), return_exceptions=True)
    assert [getattr(outcome, "id", type(outcome)) for outcome in outcomes] == ["a", "b", NulText, "a"]


async def test_when_the_database_goes_away_all_who_wait_are_told(
    database: Database, tenants: Tenants, server_dsn: str
) -> None:
    await create(database, tenants[0], "a")
    single = await Database.open(server_dsn, max_size=1)
    loader = Loader(single)
    async with single.transaction(None) as tx:
        await tx.fetch("select 1")
        reads = [asyncio.create_task(loader.read(tenants[0], PATIENT, "a")) for _ in range(5)]
        await asyncio.sleep(0.01)
        await single.close()
    outcomes = await asyncio.gather(*reads, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {errors.Busy}


def told(tenant: int, request: str, subject: str | None = "s") -> Row:
    """Return what a read has to tell, without what it found."""
    return (
        str(tenant), NOW, "read", subject, "c", 200, request, None, None, None, None, None, None, None, "::1", None,
    )  # fmt: skip


async def audited(database: Database, tenant: int) -> list[tuple[Any, ...]]:
    sql = "select request_id, type, resource_id, version, patient from audit where tenant_id = %s order by request_id"
    return await database.fetch(tenant, sql, (tenant,))


async def test_what_is_shown_is_told_in_the_same_statement_with_version_and_patient(
    database: Database, tenants: Tenants, sent: list[tuple[int | None, Sequence[Any]]]
) -> None:
    (made,) = await create(database, tenants[0], "a")
    await replace(database, tenants[0], made.self_key, b"2", entries(7))
    row = await Loader(database).read(tenants[0], PATIENT, "a", told(tenants[0], "r1"))
    assert row is not None
    assert (row.body, row.version, row.patient) == (b"2", 2, 7)
    assert len(sent) == 1
    assert await audited(database, tenants[0]) == [("r1", PATIENT, "a", 2, 7)]
    assert await audited(database, tenants[1]) == []


async def test_many_that_are_shown_at_once_share_a_statement_and_each_is_told(
    database: Database, tenants: Tenants, sent: list[tuple[int | None, Sequence[Any]]]
) -> None:
    await create(database, tenants[0], "a", "b")
    loader, texts = Loader(database), ["plain", None, 'a "quoted" \\ text', "nul \0", "x" * 5000]
    rows = await asyncio.gather(
        *(loader.read(tenants[0], PATIENT, "ab"[n % 2], told(tenants[0], f"r{n}", texts[n])) for n in range(5))
    )
    assert [row.id if row else None for row in rows] == ["a", "b", "a", "b", "a"]
    assert len(sent) == 2
    assert [(row[0], row[2]) for row in await audited(database, tenants[0])] == [
        ("r0", "a"), ("r1", "b"), ("r2", "a"), ("r3", "b"), ("r4", "a"),
    ]  # fmt: skip
    sql = "select subject from audit where tenant_id = %s order by request_id"
    subjects = [subject for (subject,) in await database.fetch(tenants[0], sql, (tenants[0],))]
    assert subjects == ["plain", None, 'a "quoted" \\ text', "nul \N{REPLACEMENT CHARACTER}", "x" * 1000]


async def test_nothing_is_told_of_what_is_not_shown(database: Database, tenants: Tenants) -> None:
    _, gone = await create(database, tenants[0], "here", "gone")
    await replace(database, tenants[0], gone.self_key, None, None)
    loader, ids = Loader(database), ("gone", "never", "here", "gone", "never")
    rows = await asyncio.gather(
        *(loader.read(tenants[0], PATIENT, id_, told(tenants[0], f"r{n}")) for n, id_ in enumerate(ids)),
        loader.read(tenants[0], PATIENT, "here"),
        loader.read(tenants[0], PATIENT, "here"),
    )
    assert [(row.id, row.body) if row else None for row in rows] == [
        ("gone", None), None, ("here", b"{}"), ("gone", None), None, ("here", b"{}"), ("here", b"{}"),
    ]  # fmt: skip
    assert [row[0] for row in await audited(database, tenants[0])] == ["r2"]


async def test_a_condition_that_hides_the_row_leaves_it_untold(database: Database, tenants: Tenants) -> None:
    await create(database, tenants[0], "a")
    for condition, seen in (("keys && %s::bigint[]", [-1]), ("not keys && %s::bigint[]", [-1])):
        row = await shown(database, tenants[0], PATIENT, "a", told(tenants[0], condition), condition, (seen,))
        assert (row is not None) == condition.startswith("not")
    assert [row[0] for row in await audited(database, tenants[0])] == ["not keys && %s::bigint[]"]


async def test_what_cannot_be_told_is_not_shown_and_fails_alone(database: Database, tenants: Tenants) -> None:
    await create(database, tenants[0], "a", "b")
    loader, wrong = Loader(database), list(told(tenants[0], "r1"))
    wrong[5] = 99_999  # more than the column holds
    asked = [told(tenants[0], "r0"), tuple(wrong), told(tenants[0], "r2"), tuple(wrong)]
    outcomes = await asyncio.gather(
        loader.read(tenants[0], PATIENT, "nul\0", told(tenants[0], "r9")),
        *(loader.read(tenants[0], PATIENT, "a", row) for row in asked),
        return_exceptions=True,
    )
    assert [getattr(outcome, "id", type(outcome)) for outcome in outcomes] == [
        NulText, "a", errors.Busy, "a", errors.Busy,
    ]  # fmt: skip
    assert [row[0] for row in await audited(database, tenants[0])] == ["r0", "r2"]
