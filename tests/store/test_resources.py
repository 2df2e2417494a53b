"""Resource rows: created, replaced, deleted, found by their keys, and kept with all their versions."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from fhir_server import errors
from fhir_server.store import history, resources
from fhir_server.store.database import Collision, Database, Tx
from fhir_server.store.history import Group, Version, Window
from fhir_server.store.resources import Current, Rids, current, find_by_keys, lock_keys, read, write
from tests.store.rows import NOW, PATIENT, Entries, create, entries, new, next_version, replace

Tenants = tuple[int, int]

NARROW = """
select 'd', param, lo::text, hi::text, rid from idx_date where tenant_id = %s union all
select 's', param, value, value, rid from idx_string where tenant_id = %s union all
select 'n', param, lo::text, hi::text, rid from idx_number where tenant_id = %s order by 1, 2, 3, 5
"""


async def versions_of(
    database: Database, tenant: int, row: Current, count: int, after: tuple[datetime, int, int] | None = None
) -> list[Version]:
    window = Window(count, after=after, rid=row.rid)
    return await history.page(database, tenant, [Group([PATIENT])], window)


async def narrow(database: Database, tenant: int) -> list[tuple[str, str]]:
    rows = await database.fetch(tenant, NARROW, (tenant,) * 3)
    return [(kind, low) for kind, _, low, _, _ in rows]


async def test_a_created_resource_is_read_back_byte_for_byte(database: Database, tenants: Tenants) -> None:
    body = b"{" + bytes(range(256)) * 40
    (rid,) = await Rids(database).take(1)
    async with database.transaction(tenants[0]) as tx:
        write(tx, [new(rid, "a", self_key=-7, found=Entries(keys=[-(2**63), 2**63 - 1]), body=body)])
    row = await read(database, tenants[0], PATIENT, "a")
    assert row == Current(rid, PATIENT, "a", 1, NOW, -7, [-(2**63), 2**63 - 1], body, 0)
    assert await read(database, tenants[1], PATIENT, "a") is None
    assert await read(database, tenants[0], PATIENT + 1, "a") is None


async def test_a_read_may_be_restricted(database: Database, tenants: Tenants) -> None:
    (made,) = await create(database, tenants[0], "a")
    assert made.entries
    key = [made.entries.keys[0]]
    assert await read(database, tenants[0], PATIENT, "a", "keys @> %s::bigint[]", (key,)) is not None
    assert await read(database, tenants[0], PATIENT, "a", "keys @> %s::bigint[]", ([1, 2],)) is None


async def test_many_resources_are_created_in_one_round_trip_of_a_handful_of_statements(
    database: Database, tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    defer = Tx.defer
    monkeypatch.setattr(Tx, "defer", lambda tx, sql, params=(): (sent.append(sql), defer(tx, sql, params))[1])
    await create(database, tenants[0], *(f"p{n}" for n in range(300)))
    assert len(sent) == 7
    assert await database.fetch(tenants[0], "select count(*), count(distinct rid) from resource") == [(300, 300)]
    assert len(await narrow(database, tenants[0])) == 300 * 5


async def test_an_id_that_exists_is_a_conflict_and_nothing_of_the_batch_stays(
    database: Database, tenants: Tenants
) -> None:
    await create(database, tenants[0], "a")
    with pytest.raises(errors.Conflict):
        await create(database, tenants[0], "b", "a")
    assert await read(database, tenants[0], PATIENT, "b") is None


async def test_an_update_keeps_the_old_version_and_replaces_the_entries(database: Database, tenants: Tenants) -> None:
    (made,) = await create(database, tenants[0], "a")
    await replace(database, tenants[0], made.self_key, b"second", entries(9))
    row = await read(database, tenants[0], PATIENT, "a")
    assert row is not None
    assert (row.version, row.body, row.keys) == (2, b"second", [90, 91, 92])
    assert [v.body for v in await versions_of(database, tenants[0], row, 10)] == [b"second", b"{}"]
    assert ("s", "name9") in await narrow(database, tenants[0])
    assert len(await narrow(database, tenants[0])) == 5


async def test_an_update_leaves_entries_that_stay_the_same_untouched(database: Database, tenants: Tenants) -> None:
    (made,) = await create(database, tenants[0], "a", found=entries(5))
    places = "select ctid::text, value from idx_string where tenant_id = %s order by value"
    before = await database.fetch(tenants[0], places, (tenants[0],))
    changed = entries(5)
    changed.strings = [(3, "name5"), (3, "new5")]
    await replace(database, tenants[0], made.self_key, b"second", changed)
    after = await database.fetch(tenants[0], places, (tenants[0],))
    assert after[0] == before[0]
    assert [value for _, value in after] == ["name5", "new5"]


async def test_entries_given_twice_by_an_update_are_kept_once(database: Database, tenants: Tenants) -> None:
    (made,) = await create(database, tenants[0], "a")
    await replace(database, tenants[0], made.self_key, b"second", Entries(strings=[(3, "x"), (3, "x")]))
    assert await narrow(database, tenants[0]) == [("s", "x")]


async def test_updates_and_creates_mix_in_one_transaction(database: Database, tenants: Tenants) -> None:
    one, two = await create(database, tenants[0], "a", "b")
    (rid,) = await Rids(database).take(1)
    async with database.transaction(tenants[0]) as tx:
        rows = await current(tx, [one.self_key, two.self_key])
        changed = [next_version(row, b"2", entries(n)) for n, row in enumerate(rows.values())]
        write(tx, [changed[0], new(rid, "c"), changed[1]])
    assert await database.fetch(tenants[0], "select id, version from resource order by id") == [
        ("a", 2),
        ("b", 2),
        ("c", 1),
    ]
    assert len(await narrow(database, tenants[0])) == 15


async def test_a_deleted_resource_leaves_the_index_and_keeps_its_versions(database: Database, tenants: Tenants) -> None:
    (made,) = await create(database, tenants[0], "a")
    await replace(database, tenants[0], made.self_key, None, None)
    row = await read(database, tenants[0], PATIENT, "a")
    assert row is not None
    assert (row.version, row.body, row.keys) == (2, None, [])
    assert await narrow(database, tenants[0]) == []
    patient = await database.fetch(tenants[0], "select patient from resource")
    assert patient == [(made.rid,)]
    versions = await versions_of(database, tenants[0], row, 10)
    assert [(v.version, v.body) for v in versions] == [(2, None), (1, b"{}")]


async def test_a_deleted_resource_comes_back_with_the_next_version(database: Database, tenants: Tenants) -> None:
    (made,) = await create(database, tenants[0], "a")
    await replace(database, tenants[0], made.self_key, None, None)
    await replace(database, tenants[0], made.self_key, b"third", entries(3))
    row = await read(database, tenants[0], PATIENT, "a")
    assert row is not None
    assert (row.version, row.body) == (3, b"third")
    bodies = [v.body for v in await versions_of(database, tenants[0], row, 10)]
    assert bodies == [b"third", None, b"{}"]


async def test_history_comes_in_pages_and_single_versions(database: Database, tenants: Tenants) -> None:
    (made,) = await create(database, tenants[0], "a")
    for n in range(2, 6):
        await replace(database, tenants[0], made.self_key, b"%d" % n, entries(n))
    row = await read(database, tenants[0], PATIENT, "a")
    assert row is not None
    pages = [await versions_of(database, tenants[0], row, 2)]
    while pages[-1]:
        last = pages[-1][-1]
        pages.append(await versions_of(database, tenants[0], row, 2, (last.updated, last.rid, last.version)))
    assert [[v.version for v in page] for page in pages] == [[5, 4], [3, 2], [1], []]
    bodies = [await history.version(database, tenants[0], row, n) for n in (1, 3, 5, 6)]
    assert [v.body if v else None for v in bodies] == [b"{}", b"3", b"5", None]
    assert await versions_of(database, tenants[1], row, 9) == []


async def test_a_version_replaced_without_its_lock_is_refused(database: Database, tenants: Tenants) -> None:
    (made,) = await create(database, tenants[0], "a")
    async with database.transaction(tenants[0]) as tx:
        stale = (await current(tx, [made.self_key], lock=False))[made.self_key]
    await replace(database, tenants[0], made.self_key, b"second", entries(2))

    async def late() -> None:
        async with database.transaction(tenants[0]) as tx:
            write(tx, [next_version(stale, b"lost", entries(3))])

    with pytest.raises(errors.Conflict, match="meanwhile"):
        await late()
    row = await read(database, tenants[0], PATIENT, "a")
    assert row is not None
    assert row.body == b"second"


async def test_writers_of_one_row_go_one_after_the_other(database: Database, tenants: Tenants) -> None:
    (made,) = await create(database, tenants[0], "a")
    await asyncio.gather(*(replace(database, tenants[0], made.self_key, b"x", entries(n)) for n in range(12)))
    row = await read(database, tenants[0], PATIENT, "a")
    assert row is not None
    assert row.version == 13
    versions = await versions_of(database, tenants[0], row, 99)
    assert [v.version for v in versions] == list(range(13, 0, -1))


async def test_live_rows_are_found_by_any_of_their_keys(database: Database, tenants: Tenants) -> None:
    await create(database, tenants[0], "a", found=Entries(keys=[1, 2]))
    await create(database, tenants[0], "b", found=Entries(keys=[2, 3]))
    (gone,) = await create(database, tenants[0], "c", found=Entries(keys=[3]))
    await replace(database, tenants[0], gone.self_key, None, None)
    await create(database, tenants[1], "d", found=Entries(keys=[2]))
    async with database.transaction(tenants[0]) as tx:
        assert [row.id for row in await find_by_keys(tx, [2, 9])] == ["a", "b"]
        assert [row.id for row in await find_by_keys(tx, [3])] == ["b"]
        assert await find_by_keys(tx, [9]) == []


async def test_of_fifty_writers_that_look_for_an_identifier_one_creates_it(
    database: Database, tenants: Tenants
) -> None:
    rids = Rids(database)

    async def create_if_none(number: int) -> str:
        async with database.transaction(tenants[0]) as tx:
            lock_keys(tx, [77, 78])
            if found := await find_by_keys(tx, [77]):
                return found[0].id
            (rid,) = await rids.take(1)
            write(tx, [new(rid, f"p{number}", found=Entries(keys=[77]))])
            return f"p{number}"

    ids = await asyncio.gather(*(create_if_none(n) for n in range(50)))
    assert len(set(ids)) == 1


async def test_locks_taken_in_any_order_do_not_deadlock(database: Database, tenants: Tenants) -> None:
    async def take(*keys: int) -> None:
        async with database.transaction(tenants[0]) as tx:
            lock_keys(tx, keys)
            await tx.fetch("select pg_sleep(0.001)")

    await asyncio.gather(*(take(*order) for order in ((1, 2, 3), (3, 2, 1), (2, 1, 3)) * 5))


async def test_a_lost_race_for_an_id_can_be_told_from_other_conflicts(database: Database, tenants: Tenants) -> None:
    await create(database, tenants[0], "a")
    with pytest.raises(Collision):
        await create(database, tenants[0], "a")


async def test_nothing_is_sent_for_nothing(database: Database, tenants: Tenants) -> None:
    async with database.transaction(tenants[0]) as tx:
        resources.write(tx, [])
        lock_keys(tx, [])
    assert await Rids(database).take(0) == []


async def test_the_order_of_entries_makes_no_difference(database: Database, tenants: Tenants) -> None:
    (made,) = await create(database, tenants[0], "a", found=entries(5))
    turned = entries(5)
    turned.strings.reverse()
    replaced = await replace(database, tenants[0], made.self_key, b"second", turned)
    row = await read(database, tenants[0], PATIENT, "a")
    assert row is not None
    assert row.narrow_hash == replaced.narrow_hash != 0
    assert len(await narrow(database, tenants[0])) == 5


async def test_an_update_may_take_away_all_entries_and_bring_them_back(database: Database, tenants: Tenants) -> None:
    (made,) = await create(database, tenants[0], "a", found=entries(5))
    await replace(database, tenants[0], made.self_key, b"second", Entries(keys=[1]))
    assert await narrow(database, tenants[0]) == []
    await replace(database, tenants[0], made.self_key, b"third", entries(6))
    assert len(await narrow(database, tenants[0])) == 5
