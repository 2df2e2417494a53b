"""What is counted of each channel: what came, what became of it, how long its answer took; and nothing of a patient."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta

import pytest

from conformance.issue import error
from fhir_server.context import Tenant
from fhir_server.engine.channel import Channel
from fhir_server.engine.figures import Figures
from fhir_server.errors import Busy
from fhir_server.store import figures as stored
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.figures import EVER
from tests.engine.world import NOW, PEER, adt, receiver, shut, tenant_of


async def ever(db: Database, tenant: Tenant, channel: str) -> dict[str, int]:
    """Return what a channel did since ever, but for times."""
    found = await stored.ever(db, tenant.id)
    return {one.what: one.number for one in found if one.channel == channel and not one.what.startswith("ack:")}


async def test_what_came_is_counted_by_what_became_of_it(database: Database) -> None:
    tenant = await tenant_of(database)
    door = receiver(database, Channel("lab", tenant, types=frozenset(("ADT",))))
    for data in (adt("1"), adt("2"), adt("2"), adt("3").replace(b"ADT^", b"ORU^")):
        await door.message(data, PEER)
    await door.fault("unframed", b"junk", 4, PEER)
    await door.figures.flush()
    assert await ever(database, tenant, "lab") == {
        "received": 2, "repeated": 1, "rejected": 2, "error:not-supported": 2
    }  # fmt: skip


async def test_counts_of_several_processes_add_up_in_slots_of_five_minutes(database: Database) -> None:
    tenant = await tenant_of(database)
    for minutes in (0, 4, 6):
        figures = Figures(database, lambda m=minutes: NOW + timedelta(minutes=m))  # type: ignore[misc]
        figures.count(tenant.id, "lab", "done", 2)
        await figures.flush()
    found = await stored.since(database, tenant.id, NOW)
    told = {one.slot: (one.number, one.last) for one in found}
    assert told == {
        NOW: (4, NOW + timedelta(minutes=4)),
        NOW + timedelta(minutes=5): (2, NOW + timedelta(minutes=6)),
        EVER: (6, NOW + timedelta(minutes=6)),
    }


async def test_quarters_of_an_hour_are_sums_of_slots_and_the_longest_wait_of_them(database: Database) -> None:
    tenant = await tenant_of(database)
    for minutes, number in ((0, 1), (6, 2), (14, 3), (16, 4)):
        moment = NOW + timedelta(minutes=minutes)
        figures = Figures(database, lambda m=moment: m)  # type: ignore[misc]
        figures.count(tenant.id, "lab", "done", number)
        await figures.flush()
        async with database.transaction(tenant.id) as tx:
            stored.waited(tx, "lab", stored.Waiting(1, moment - timedelta(seconds=number)), moment)
    found = await stored.bars(database, tenant.id, NOW, timedelta(minutes=15))
    assert {(one.what, one.slot): one.number for one in found} == {
        ("done", NOW): 6, ("done", NOW + timedelta(minutes=15)): 4, ("done", EVER): 10,
        ("oldest", NOW): 3, ("oldest", NOW + timedelta(minutes=15)): 4,
    }  # fmt: skip


async def test_slots_are_forgotten_and_what_is_counted_since_ever_is_not(database: Database) -> None:
    tenant = await tenant_of(database)
    figures = Figures(database, lambda: NOW)
    figures.count(tenant.id, "lab", "done")
    await figures.flush()
    await stored.forget(database, tenant.id, NOW + timedelta(minutes=5))
    assert [one.slot for one in await stored.since(database, tenant.id, NOW)] == [EVER]


async def test_the_time_of_each_answer_falls_into_one_bucket(database: Database) -> None:
    tenant = await tenant_of(database)
    figures = Figures(database, lambda: NOW)
    for seconds in (0.004, 0.005, 0.3, 99.0):
        figures.answered(tenant.id, "lab", seconds)
    await figures.flush()
    found = {one.what: one.number for one in await stored.ever(database, tenant.id)}
    assert found == {"ack:0.005": 2, "ack:0.5": 1, f"ack:{math.inf:g}": 1, "ack:us": 99_309_000}


async def test_classes_of_errors_are_a_short_list_whatever_is_reported(database: Database) -> None:
    tenant = await tenant_of(database)
    figures = Figures(database, lambda: NOW)
    figures.failed(tenant.id, "lab", "buried", [error("required", "a"), error("required", "b"), error("Meier", "c")])
    await figures.flush()
    assert await ever(database, tenant, "lab") == {"buried": 1, "error:required": 1, "error:other": 1}


async def test_counts_outlast_a_database_that_is_away(
    fresh_database: Database, fresh_name: str, postgres: EmbeddedPostgres
) -> None:
    tenant = await tenant_of(fresh_database)
    figures = Figures(fresh_database, lambda: NOW)
    figures.count(tenant.id, "lab", "done")
    shut(postgres, fresh_name)
    with pytest.raises(Busy):
        async with asyncio.timeout(60):
            await figures.flush()
    figures.count(tenant.id, "lab", "done")
    shut(postgres, fresh_name, shut=False)
    await figures.flush()
    assert await ever(fresh_database, tenant, "lab") == {"done": 2}


async def test_what_waits_is_told_by_channel_with_its_age(database: Database) -> None:
    tenant = await tenant_of(database)
    for name, number in (("lab", 2), ("adt", 1)):
        door = receiver(database, Channel(name, tenant))
        for n in range(number):
            await door.message(adt(f"{name}{n}"), PEER)
    found = await stored.waiting(database, tenant.id)
    assert {name: (one.count, one.oldest) for name, one in found.items()} == {"lab": (2, NOW), "adt": (1, NOW)}


async def test_the_last_counts_are_added_when_counting_ends(database: Database) -> None:
    tenant = await tenant_of(database)
    figures = Figures(database, lambda: NOW)
    keeping = asyncio.create_task(figures.keep(3600))
    await asyncio.sleep(0)
    figures.count(tenant.id, "lab", "done")
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert await ever(database, tenant, "lab") == {"done": 1}


class Doors:
    """Listeners, as far as they are counted."""

    def __init__(self, connections: int, refused: int) -> None:
        self.connections, self.refused = connections, refused


async def test_connections_are_those_of_living_processes_and_refusals_are_never_forgotten(
    fresh_database: Database,
) -> None:
    for connections, refused, ago in ((3, 5, 3600), (4, 7, 0)):
        figures = Figures(fresh_database, lambda s=ago: NOW - timedelta(seconds=s))  # type: ignore[misc]
        figures.listeners.append(Doors(connections, refused))
        await figures.flush()
    for _ in range(2):
        assert await stored.connections(fresh_database, NOW) == {"open": 4, "refused": 12}
