"""The chain over the audit: committed rows are sealed into blocks, and whatever is changed afterwards is named."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import psycopg
import pytest

from fhir_server.store import audit
from fhir_server.store.audit import Audited
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.sealer import seal
from fhir_server.store.verifier import Anchor, Verified, verify
from tests.postgres import new_tenants

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROW = Audited(
    at=NOW, action="read", subject="s", client="c", outcome=200, request_id="r", type=1, resource_id="x", version=1,
    patient=-5, token="t", query=b"GET \xff", peer="::1", detail={"b": [1, None], "a": "ü"},
)  # fmt: skip


class World:
    """A database of one test, a tenant in it, and an administrator who can change anything."""

    def __init__(self, db: Database, tenant: int, admin_dsn: str) -> None:
        self.db, self.tenant, self.admin_dsn = db, tenant, admin_dsn

    async def add(self, *moments: datetime) -> None:
        """Record a row for each moment, in one transaction."""
        async with self.db.transaction(self.tenant) as tx:
            audit.record(tx, [msgspec.structs.replace(ROW, at=at) for at in moments or [NOW]])

    async def seal(self) -> int:
        return await seal(self.db, self.tenant, NOW)

    async def verify(self, *anchors: Anchor) -> Verified:
        return await verify(self.db, self.tenant, anchors)

    def tamper(self, statement: str, *params: object) -> None:
        """Do what only an administrator can do."""
        with psycopg.connect(self.admin_dsn, autocommit=True) as admin:
            done = admin.execute(statement.encode(), params)
            assert done.rowcount > 0, statement

    async def ids(self) -> list[int]:
        rows = await self.db.fetch(self.tenant, "select id from audit where tenant_id = %s order by id", (self.tenant,))
        return [id_ for (id_,) in rows]


@pytest.fixture
async def world(postgres: EmbeddedPostgres, fresh_name: str, fresh_database: Database) -> World:
    (tenant,) = await new_tenants(fresh_database, 1)
    return World(fresh_database, tenant, postgres.admin_dsn(fresh_name))


async def three_blocks(world: World) -> None:
    for _ in range(3):
        await world.add(NOW, NOW)
        assert await world.seal() == 2


async def test_what_is_sealed_verifies_and_is_sealed_once(world: World) -> None:
    await three_blocks(world)
    assert await world.seal() == 0
    told = await world.verify()
    assert (told.blocks, told.rows, told.number, told.broken) == (3, 6, 3, None)


async def test_a_transaction_that_is_under_way_is_waited_for(world: World) -> None:
    async with world.db.transaction(world.tenant) as tx:
        audit.record(tx, [ROW])
        await tx.flush()
        await world.add()
        # The later one is committed, but the earlier could still come between.
        assert await world.seal() == 0
    assert await world.seal() == 2
    assert (await world.verify()).broken is None


async def test_several_that_seal_at_once_make_one_chain_while_rows_come(world: World) -> None:
    async def adding() -> None:
        for _ in range(20):
            await world.add()

    async def sealing() -> None:
        for _ in range(10):
            await world.seal()

    await asyncio.gather(adding(), adding(), sealing(), sealing(), sealing())
    await world.seal()
    told = await world.verify()
    assert (told.rows, told.broken) == (40, None)


async def test_a_span_of_two_days_becomes_a_block_for_each(world: World) -> None:
    await world.add(NOW, NOW - timedelta(days=1), NOW)
    assert await world.seal() == 3
    told = await world.verify()
    assert (told.blocks, told.rows, told.broken) == (2, 3, None)


@pytest.mark.parametrize(
    "change",
    [
        "action = 'create'", "subject = 'other'", "client = null", "outcome = 403", "request_id = 'z'", "type = 2",
        "resource_id = 'y'", "version = 2", "patient = 1", "purpose = 'BTG'", "token = 'u'", "query = 'GET'",
        "peer = '::2'", """detail = '{"a": "u"}'""", "at = at + interval '1 microsecond'",
        "at = at - interval '1 day'",
    ],
)  # fmt: skip
async def test_a_changed_row_is_named(world: World, change: str) -> None:
    await three_blocks(world)
    changed = (await world.ids())[2]
    world.tamper(f"update audit set {change} where id = %s", changed)
    told = await world.verify()
    assert told.broken is not None
    assert f"row {changed} of" in told.broken
    assert "block 2 was changed" in told.broken


async def test_a_removed_row_is_named(world: World) -> None:
    await three_blocks(world)
    removed = (await world.ids())[3]
    world.tamper("delete from audit where id = %s", removed)
    assert (await world.verify()).broken == f"row {removed} of 2026-03-01 in block 2 was removed"


async def test_an_inserted_row_is_named(world: World) -> None:
    await three_blocks(world)
    within = (await world.ids())[2]
    world.tamper(
        "insert into audit (tenant_id, at, action, outcome, xid) select tenant_id, at, 'read', 200, xid from audit"
        " where id = %s", within,
    )  # fmt: skip
    inserted = (await world.ids())[-1]
    assert (await world.verify()).broken == f"row {inserted} of 2026-03-01 was inserted into the span of block 2"


@pytest.mark.parametrize(
    "change", ["rows = 7", "until = until + 1", "since = since - 1", "day = day + 1", "leaves = leaves || leaves",
               "previous = hash", "hash = previous"],
)  # fmt: skip
async def test_a_changed_block_is_named(world: World, change: str) -> None:
    await three_blocks(world)
    world.tamper(f"update audit_block set {change} where number = 2")
    told = await world.verify()
    assert told.broken is not None
    assert told.broken.startswith("block 2 was changed")


async def test_a_removed_block_is_named_and_the_last_one_by_an_anchor(world: World) -> None:
    await three_blocks(world)
    whole = await world.verify()
    anchor = Anchor("t", whole.number, whole.hash)
    assert (await world.verify(anchor)).broken is None
    world.tamper("delete from audit_block where number = 3")
    assert (await world.verify()).broken is None
    assert (await world.verify(anchor)).broken == "block 3 is missing: an anchor tells of block 3"
    world.tamper("delete from audit_block where number = 1")
    assert (await world.verify()).broken == "block 1 is missing"


async def test_a_history_that_was_written_anew_is_told_by_an_anchor(world: World) -> None:
    await three_blocks(world)
    whole = await world.verify()
    world.tamper("delete from audit_block")
    world.tamper("update audit set subject = 'other'")
    await world.seal()
    assert (await world.verify()).broken is None
    told = await world.verify(Anchor("t", whole.number, whole.hash))
    assert told.broken == "block 2 is missing: an anchor tells of block 3"


async def test_the_chain_goes_on_where_transactions_are_counted_anew(world: World) -> None:
    """As after a backup was restored into another cluster: rows of before have greater transaction numbers."""
    await world.add()
    world.tamper("update audit set xid = '4000000000'")
    world.tamper("insert into audit_era (number, cluster, after) select 2, 'other', max(id) from audit")
    await world.add()
    assert await world.seal() == 2
    await world.add()
    assert await world.seal() == 1
    told = await world.verify()
    assert (told.blocks, told.rows, told.broken) == (3, 3, None)


async def test_the_servers_role_can_change_neither_blocks_nor_where_they_start(world: World) -> None:
    await three_blocks(world)
    for statement in (
        "update audit_block set rows = 1", "delete from audit_block", "delete from audit_state",
        "update audit_start set number = 2",
        "insert into audit_era (number, cluster, after) values (9, '', 0)",
    ):  # fmt: skip
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await world.db.fetch(world.tenant, statement)
