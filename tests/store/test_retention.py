"""Old days of the audit are dropped, and the chain goes on from where they ended."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from fhir_server.store import audit
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.partitions import ensure_days
from fhir_server.store.retention import Unsealed, retain
from fhir_server.store.verifier import verify
from tests.postgres import new_tenants
from tests.store.test_sealer import NOW, ROW, World

DAY = timedelta(days=1)


@pytest.fixture
async def world(postgres: EmbeddedPostgres, fresh_name: str, fresh_database: Database) -> World:
    """Give a tenant with a sealed row on each of four days, the oldest of them in no day's own partition."""
    (tenant,) = await new_tenants(fresh_database, 1)
    await ensure_days(fresh_database, (NOW - 2 * DAY).date(), 4)
    world = World(fresh_database, tenant, postgres.admin_dsn(fresh_name))
    for ago in (3, 2, 1, 0):
        await world.add(NOW - ago * DAY)
        await world.seal()
    return world


def kept(world: World, days: int) -> list[str]:
    return retain(world.admin_dsn, (NOW - days * DAY).date(), NOW + DAY).days


async def test_older_days_are_gone_and_the_chain_verifies_from_its_recorded_start(world: World) -> None:
    whole = await world.verify()
    assert kept(world, 1) == ["2026-02-27"]
    rows = await world.db.fetch(
        world.tenant, "select at, action from audit where tenant_id = %s order by at", (world.tenant,)
    )
    assert [(at, action) for at, action in rows] == [(NOW - DAY, "read"), (NOW, "read"), (NOW + DAY, "retain")]
    told = await world.verify()
    assert (told.blocks, told.rows, told.number, told.hash, told.broken) == (2, 2, 4, whole.hash, None)
    await world.seal()
    assert (await world.verify()).broken is None
    # Again, and again from there.
    assert kept(world, 1) == []
    assert kept(world, 0) == ["2026-02-28"]
    assert (await world.verify()).broken is None


async def test_a_late_row_of_a_dropped_day_leaves_its_block_in_the_chain(world: World) -> None:
    await world.add(NOW - 2 * DAY, NOW)
    await world.seal()
    kept(world, 1)
    told = await world.verify()
    assert (told.blocks, told.rows, told.broken) == (4, 3, None)


async def test_what_is_not_sealed_is_not_dropped(world: World) -> None:
    await world.add(NOW - 2 * DAY)
    with pytest.raises(Unsealed, match="1 rows"):
        kept(world, 1)
    assert len(await world.ids()) == 5
    assert (await world.verify()).broken is None


async def test_a_row_that_was_removed_is_not_hidden_by_dropping_its_day(world: World) -> None:
    world.tamper("delete from audit where id = %s", (await world.ids())[0])
    with pytest.raises(Unsealed):
        kept(world, 1)


async def test_a_start_that_no_row_tells_of_is_named(world: World) -> None:
    kept(world, 1)
    world.tamper("delete from audit where action = 'retain'")
    told = await world.verify()
    assert told.broken == "the chain starts after block 2, and no row tells that days were dropped there"


async def test_a_start_is_no_cover_for_blocks_that_are_there(world: World) -> None:
    sql = "insert into audit_start (tenant_id, number, hash, before, moved) select tenant_id, 2, hash, day, sealed"
    await world.db.fetch(world.tenant, f"{sql} from audit_block where number = 2")
    assert (await world.verify()).broken == "the chain is said to start after block 2, and earlier blocks are there"


async def test_other_tenants_chains_stay_whole_too(world: World) -> None:
    (other,) = await new_tenants(world.db, 1)
    async with world.db.transaction(other) as tx:
        audit.record(tx, [ROW])
    kept(world, 1)
    assert (await verify(world.db, other)).broken is None
    rows = await world.db.fetch(other, "select action from audit where tenant_id = %s", (other,))
    assert rows == [("read",)]


async def test_the_state_of_a_change_goes_with_its_day_and_the_servers_role_can_drop_nothing(world: World) -> None:
    for ago in (2, 0):
        async with world.db.transaction(world.tenant) as tx:
            await audit.changed(
                tx, audit.Audited(at=NOW - ago * DAY, action="role", subject="s", client="c", outcome=200), 1, 2
            )
        await world.seal()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await world.db.fetch(world.tenant, "drop table audit_20260227")
    kept(world, 1)
    assert await world.db.fetch(
        world.tenant, "select count(*) from audit_state where tenant_id = %s", (world.tenant,)
    ) == [(1,)]
    assert (await world.verify()).broken is None
