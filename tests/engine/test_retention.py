"""Messages go when their time is over: by days where nothing is to be kept, otherwise one by one; none unprocessed."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import psycopg
import pytest

from fhir_server.context import Tenant
from fhir_server.operations.channels import Editor, apply
from fhir_server.operations.message_retention import retain
from fhir_server.operations.queueing import Retention
from fhir_server.store import inbox, message_retention
from fhir_server.store.database import Database
from fhir_server.store.inbox import Accepted
from fhir_server.store.message_retention import Gone
from fhir_server.store.partitions import ensure_days
from tests.engine.world import NOW, tenant_of

REST = Retention(days=30, buried=60)
# The clock of the database forbids what is too young, so all is long ago.
DAY = NOW.date()


class World:
    """A tenant's messages of some days."""

    def __init__(self, db: Database, tenant: Tenant) -> None:
        self.db, self.tenant = db, tenant

    async def keep(self, control_id: str, days: int, state: str = "done", channel: str = "his") -> None:
        """Have a message of so many days after the first."""
        moment = NOW + timedelta(days=days)
        given = Accepted(
            received=moment, raw=control_id.encode(), channel=channel, order_key=1, control_id=control_id, keys=[7]
        )
        await inbox.accept(self.db, self.tenant.id, [given])
        if state != "received":
            sql = "update inbox set state = %s where tenant_id = %s and control_id = %s"
            await self.db.fetch(self.tenant.id, sql, (state, self.tenant.id, control_id))

    async def left(self) -> list[str]:
        """Return the control ids that are there still."""
        sql = "select control_id from inbox where tenant_id = %s order by received, id"
        return [name for (name,) in await self.db.fetch(self.tenant.id, sql, (self.tenant.id,))]

    async def days(self) -> list[date]:
        return await message_retention.days(self.db, DAY + timedelta(days=300))

    async def retain(self, after: int, *, really: bool = True) -> list[Gone]:
        """Let go what is to go so many days after the first."""
        return await retain(self.db, [self.tenant], REST, NOW + timedelta(days=after), really=really)


@pytest.fixture
async def world(fresh_database: Database) -> World:
    await ensure_days(fresh_database, DAY, 12)
    return World(fresh_database, await tenant_of(fresh_database))


async def test_a_day_of_which_nothing_is_to_be_kept_is_dropped_whole(world: World) -> None:
    await world.keep("A", 0)
    await world.keep("B", 1)
    assert [(one.state, one.gone, one.dropped) for one in await world.retain(31)] == [("done", 1, True)]
    assert await world.left() == ["B"]
    assert DAY not in await world.days()
    assert DAY + timedelta(days=1) in await world.days()
    for table in ("message_seen", "message_key"):
        rows = await world.db.fetch(world.tenant.id, f"select count(*) from {table}")
        assert rows == [(1,)], table
    (told,) = await world.db.fetch(world.tenant.id, "select detail from audit where action = 'message-retain'")
    assert told[0] == {"day": DAY.isoformat(), "done": 1}


async def test_what_is_to_be_processed_stays_whatever_its_age(world: World) -> None:
    await world.keep("A", 0)
    await world.keep("WAITS", 0, "received")
    told = await world.retain(5000)
    assert [(one.state, one.gone, one.kept, one.dropped) for one in told] == [("done", 1, 0, False)]
    assert await world.left() == ["WAITS"]
    assert await world.retain(5000) == []


async def test_what_waits_for_a_person_is_kept_for_longer_and_told(world: World) -> None:
    for name, state in (("A", "done"), ("B", "buried"), ("Q", "quarantined"), ("R", "rejected")):
        await world.keep(name, 0, state)
    await world.retain(31)
    assert await world.left() == ["B", "Q"]
    assert {(one.state, one.dropped) for one in await world.retain(61)} == {("buried", True), ("quarantined", True)}
    assert await world.left() == []


async def test_a_channel_may_keep_its_messages_for_longer_or_shorter(world: World) -> None:
    who = Editor(world.tenant.id, "p", "c", NOW)
    await apply(
        world.db, who, [b'{"name": "%s", "retention": {"days": %d}}' % given for given in ((b"lab", 200), (b"x", 2))]
    )
    await world.keep("L", 0, channel="lab")
    await world.keep("A", 0)
    await world.keep("X", 10, channel="x")
    await world.retain(31)
    assert await world.left() == ["L"]
    await world.retain(201)
    assert await world.left() == []


@pytest.mark.parametrize(
    ("state", "others", "waiting"), [("queued", 1, 1), ("sending", 1, 1), ("held", 1, 0), ("done", 0, 0)]
)
@pytest.mark.parametrize("alone", [True, False])
async def test_a_message_stays_as_long_as_it_is_to_be_sent(
    world: World, state: str, others: int, waiting: int, alone: bool
) -> None:
    await world.keep("SENT", 0)
    if not alone:
        await world.keep("BURIED", 0, "buried")
    sql = (
        "insert into delivery (tenant_id, received, message_id, channel, destination, sends, content_key, order_hash,"
        " lane, state, created) select tenant_id, received, id, 'his', 'lab', 'message', 'x', 1, 1, %s, received"
        " from inbox where tenant_id = %s and control_id = 'SENT' returning id"
    )
    ((number,),) = await world.db.fetch(world.tenant.id, sql, (state, world.tenant.id))
    tried = (
        "insert into delivery_attempt (tenant_id, received, delivery_id, number, began, request_bytes)"
        " select tenant_id, received, id, 1, received, 0 from delivery where tenant_id = %s and id = %s"
    )
    await world.db.fetch(world.tenant.id, tried, (world.tenant.id, number))
    for after, left in ((31, others), (61, waiting)):
        await world.retain(after)
        assert ("SENT" in await world.left()) == bool(left)
        for table in ("delivery", "delivery_attempt"):
            assert await world.db.fetch(world.tenant.id, f"select count(*) from {table}") == [(left,)], (after, table)


async def test_a_dry_run_only_tells(world: World) -> None:
    await world.keep("A", 0)
    assert [(one.gone, one.dropped) for one in await world.retain(31, really=False)] == [(1, False)]
    assert await world.left() == ["A"]


async def test_a_message_again_after_its_retention_is_a_new_one(world: World) -> None:
    await world.keep("A", 0)
    await world.keep("KEPT", 0, "buried")
    await world.retain(31)
    again = Accepted(received=NOW + timedelta(days=9), raw=b"A", channel="his", order_key=1, control_id="A")
    (kept,) = await inbox.accept(world.db, world.tenant.id, [again])
    assert (kept.duplicate, kept.state) == (False, "received")


async def test_more_than_one_transaction_deletes_are_all_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_retention, "_TOGETHER", 2)
    for n in range(5):
        await world.keep(f"A{n}", 0)
    await world.keep("B", 0, "buried")
    assert [one.gone for one in await world.retain(31)] == [5]
    assert await world.left() == ["B"]


async def test_the_function_lets_nothing_young_go_and_the_server_can_delete_nothing_by_itself(world: World) -> None:
    limits = message_retention.Limit(NOW + timedelta(days=99999), NOW + timedelta(days=99999))
    with pytest.raises(psycopg.errors.RaiseException, match="too young"):
        await message_retention.retain(world.db, datetime.now(NOW.tzinfo).date(), {}, limits, really=True)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await world.db.fetch(world.tenant.id, "delete from inbox")
