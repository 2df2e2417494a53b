"""`concord check` finds what makes a database unsafe, slow or wrong, and says what to do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from fhir_server.store.doctor import facts
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.fact import Fact
from fhir_server.store.tables import GROWING, vacuum
from tests.postgres import drop_database


def now() -> datetime:
    return datetime.now(UTC)


async def broken(dsn: str, clock: Callable[[], datetime] = now) -> dict[str, Fact]:
    return {fact.name: fact for fact in await facts(dsn, clock) if not fact.ok}


def alter(postgres: EmbeddedPostgres, name: str, *statements: str) -> None:
    with psycopg.connect(postgres.admin_dsn(name), autocommit=True) as admin:
        for statement in statements:
            admin.execute(statement.encode())


async def test_a_migrated_database_is_sound(server_dsn: str) -> None:
    found = await facts(server_dsn, now)
    assert [fact for fact in found if not fact.ok] == []
    assert len(found) == 12


@pytest.mark.parametrize(
    ("statement", "name", "told"),
    [
        ("alter table inbox no force row level security", "row-level security", "inbox"),
        ("alter table resource disable row level security", "row-level security", "resource"),
        ("create table stray (tenant_id int)", "row-level security", "stray"),
        ("drop policy tenant on audit", "policies", "audit"),
        ("create policy open on inbox using (true)", "policies", "inbox"),
        ("alter function arrayoverlap(anyarray, anyarray) not leakproof", "leakproof marks", "arrayoverlap"),
        ("update alembic_version set version_num = '0000'", "migrations", "0000"),
        ("update alembic_version set version_num = '9999'", "migrations", "9999"),
        ("drop table alembic_version", "migrations", "never migrated"),
        ("drop table inbox_{tomorrow}", "day partitions", "inbox_"),
        ("alter table job owner to concord_server", "server role", "owns tables"),
        ("drop index resource_keys", "indexes", "resource_keys"),
        ("alter table resource drop constraint resource_pkey", "indexes", "resource_pkey"),
        (
            "update pg_index set indisvalid = false where indexrelid = 'resource_updated'::regclass",
            "indexes",
            "resource_updated",
        ),
    ],
)
async def test_what_is_wrong_is_found_and_told(
    postgres: EmbeddedPostgres, fresh_name: str, statement: str, name: str, told: str
) -> None:
    alter(postgres, fresh_name, statement.format(tomorrow=f"{now() + timedelta(days=1):%Y%m%d}"))
    found = await broken(postgres.server_dsn(fresh_name))
    assert told in found[name].detail
    assert found[name].remedy


async def test_a_server_that_logs_in_as_superuser_is_told(admin_dsn: str) -> None:
    found = await broken(admin_dsn)
    assert "is superuser" in found["server role"].detail


async def test_a_clock_that_is_wrong_is_told(server_dsn: str) -> None:
    found = await broken(server_dsn, lambda: now() + timedelta(seconds=30))
    assert list(found) == ["clock"]
    assert found["clock"].detail.startswith(("29.", "30."))


async def test_an_empty_database_is_told_to_migrate(postgres: EmbeddedPostgres) -> None:
    alter(postgres, "postgres", "create database bare template template0")
    try:
        found = await broken(postgres.server_dsn("bare"))
        assert found["migrations"].remedy == "run `concord migrate`"
    finally:
        drop_database(postgres, "bare")


async def test_a_database_that_is_away_is_one_fact(postgres: EmbeddedPostgres) -> None:
    (fact,) = await facts(postgres.server_dsn("no_such_database"), now)
    assert (fact.name, fact.ok) == ("database", False)
    assert "no_such_database" in fact.detail


NUMBERS = "insert into idx_number (tenant_id, param, rid, lo, hi) select 1, 1, n, n, n from generate_series(1, 30000) n"
STILL = "alter table idx_number set (autovacuum_enabled = false)"


async def test_stale_statistics_and_dead_rows_are_found_until_they_are_tidied(
    postgres: EmbeddedPostgres, fresh_name: str
) -> None:
    dsn = postgres.server_dsn(fresh_name)
    alter(postgres, fresh_name, STILL, NUMBERS)
    assert "idx_number was never analysed" in (await broken(dsn))["statistics"].detail
    alter(postgres, fresh_name, "analyze idx_number", NUMBERS)
    assert "30000 changed rows" in (await broken(dsn))["statistics"].detail
    alter(postgres, fresh_name, "delete from idx_number where rid % 2 = 0")
    assert "idx_number has 30000 beside 30000" in (await broken(dsn))["dead rows"].detail
    assert [name async for name in vacuum(dsn)] == list(GROWING)
    assert await broken(dsn) == {}


async def test_a_role_that_may_not_vacuum_leaves_the_tables_alone(postgres: EmbeddedPostgres, fresh_name: str) -> None:
    alter(postgres, fresh_name, "revoke maintain on resource from concord_server")
    assert [name async for name in vacuum(postgres.server_dsn(fresh_name))] == []
