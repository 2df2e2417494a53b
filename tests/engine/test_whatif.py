"""What-if: a changed definition is tried on messages that were processed, and nothing is committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from fhir_server.app import Concord, receiver, what_if, worker
from fhir_server.cli import app
from fhir_server.context import Tenant
from fhir_server.engine.directory import Directory, trial
from fhir_server.engine.whatif import Change, Difference, Totals
from fhir_server.errors import NotFound
from fhir_server.operations import channels
from fhir_server.operations.channels import Editor
from fhir_server.store import tenants
from fhir_server.store.embedded import EmbeddedPostgres
from tests.engine.world import PEER, adt, kept
from tests.fhir import running

TABLES = ("resource", "resource_history", "audit", "job", "idx_date", "idx_string")
# Its times, that of the admission (PV1-44) among them, name no zone.
LOCAL = adt("1", sent="20260301110000").replace(b"^^^NORTH^VN\r", b"^^^NORTH^VN" + b"|" * 25 + b"20260301100000\r")


class House:
    """An installation with one channel, whose messages have been processed."""

    def __init__(self, concord: Concord, tenant: Tenant) -> None:
        self.concord, self.tenant = concord, tenant

    async def differences(self, ids: list[int], **definition: object) -> list[Difference]:
        """Return what another definition would make different."""
        other = trial(self.tenant, msgspec.json.encode({"name": "adt", **definition}))
        working = Directory(self.concord.db).named
        return [one async for one in what_if(self.concord, self.tenant).differences(ids, working, other)]

    async def counts(self) -> list[int]:
        """Return how many rows each table of the tenant has."""
        db = self.concord.db
        return [(await db.fetch(self.tenant.id, f"select count(*) from {name}"))[0][0] for name in TABLES]


@pytest.fixture
async def house(
    fresh_name: str, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[House]:
    """Give an installation with two processed messages, which commands find by their environment."""
    monkeypatch.setenv("CONCORD_DATABASE_URL", postgres.server_dsn(fresh_name))
    monkeypatch.setenv("CONCORD_DATA_DIR", str(tmp_path))
    async with running(postgres.server_dsn(fresh_name)) as (concord, _):
        tenant = await tenants.add(concord.db, "north")
        who = Editor(tenant.id, "engineer", "tests", concord.clock())
        await channels.apply(concord.db, who, [b'{"name": "adt", "profile": {"zone": "America/New_York"}}'])
        async with receiver(concord) as door:
            await door.message(LOCAL, PEER)
            await door.message(adt("2").replace(b"PID|", b"ZID|"), PEER)
        await worker(concord).drain()
        yield House(concord, tenant)


async def test_a_changed_zone_shows_each_time_that_would_be_another_with_the_field_it_comes_from(house: House) -> None:
    (first, _) = await kept(house.concord.db, house.tenant)
    (found,) = await house.differences([first.id], profile={"zone": "America/Los_Angeles"})
    changes = [c for many in found.resources.values() for c in many if c.path == "Encounter.period.start"]
    assert changes == [
        Change("Encounter.period.start", "2026-03-01T10:00:00-05:00", "2026-03-01T10:00:00-08:00", "PV1-44")
    ]


async def test_nothing_is_committed_by_trying(house: House) -> None:
    before = await house.counts()
    messages = await kept(house.concord.db, house.tenant)
    await house.differences([m.id for m in messages], profile={"zone": "America/Los_Angeles", "scope": "other"})
    assert await house.counts() == before
    assert await kept(house.concord.db, house.tenant) == messages


async def test_the_definition_that_works_makes_no_difference(house: House) -> None:
    ids = [m.id for m in await kept(house.concord.db, house.tenant)]
    found = await house.differences(ids, profile={"zone": "America/New_York"})
    assert [one.same for one in found] == [True, True]
    assert found[1].stops_before == found[1].stops_after != None  # noqa: E711


async def test_a_message_that_would_make_other_resources_shows_them_whole(house: House) -> None:
    (first, _) = await kept(house.concord.db, house.tenant)
    systems = {"NORTH": "https://north.example/mrn"}
    (found,) = await house.differences([first.id], profile={"zone": "America/New_York", "systems": systems})
    assert any("identifier[0].system" in c.path for many in found.resources.values() for c in many)


async def test_differences_are_counted_over_the_whole_selection(house: House) -> None:
    totals = Totals()
    ids = [m.id for m in await kept(house.concord.db, house.tenant)]
    for one in await house.differences(ids, profile={"zone": "America/Los_Angeles"}):
        totals.add(one)
    assert (totals.messages, totals.changed, totals.stop_now, totals.stop_no_more) == (2, 1, 0, 0)
    assert all("[" not in path for path in totals.elements)


async def test_a_message_of_another_clinic_is_not_there(house: House) -> None:
    other = await tenants.add(house.concord.db, "south")
    ids = [m.id for m in await kept(house.concord.db, house.tenant)]
    with pytest.raises(NotFound):
        await House(house.concord, other).differences(ids)


async def test_the_command_tries_a_file_and_tells_what_would_be_different(house: House, tmp_path: Path) -> None:
    file = tmp_path / "adt.json"
    file.write_text('{"name": "adt", "profile": {"zone": "America/Los_Angeles"}}')
    argv = ["messages", "what-if", "--tenant", "north", "--with", str(file)]
    told = await asyncio.to_thread(CliRunner().invoke, app, argv)
    assert told.exit_code == 0, told.output
    assert "Encounter.period.start" in told.output
    assert "(PV1-44)" in told.output
    assert "1 of 2 messages would be different" in told.output
    lines = await asyncio.to_thread(CliRunner().invoke, app, [*argv, "--json"])
    assert [msgspec.json.decode(line)["message"] for line in lines.stdout.splitlines()] == [1]
    of_one = await asyncio.to_thread(CliRunner().invoke, app, [*argv, "--type", "ADT^A01", "--limit", "1"])
    assert "of 1 messages would be different" in of_one.output
    of_none = await asyncio.to_thread(CliRunner().invoke, app, [*argv, "--patient", "nobody"])
    assert "0 of 0 messages would be different" in of_none.output
    nothing = await asyncio.to_thread(CliRunner().invoke, app, argv[:4])
    assert nothing.exit_code == 1
