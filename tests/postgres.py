"""A real PostgreSQL for the tests: one embedded server per test process, one migrated database to copy from.

`database` is shared by the tests of a process: use the tenants of `tenants`, which are new for every test.
`fresh_database` is a copy for one test alone: for queues, whole tables and row-level security.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import psycopg
import pytest

from fhir_server.store.database import Database
from fhir_server.store.embedded import DATABASE, EmbeddedPostgres
from fhir_server.store.migrate import migrate

SHARED = "shared"
# Of 32 bytes, known to everybody.
MASTER_KEY = "Y29uY29yZCB0ZXN0cyBtYXN0ZXIga2V5IDMyIGJ5dGU="
# A test's data need not outlive a power cut.
_QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "deadlock_timeout": "100ms",
}
_numbers = count(1)


def create_database(postgres: EmbeddedPostgres, name: str) -> None:
    """Copy the migrated database, to which nobody may be connected."""
    with psycopg.connect(postgres.admin_dsn("postgres"), autocommit=True) as admin:
        admin.execute(f"create database {name} template {DATABASE}".encode())


def drop_database(postgres: EmbeddedPostgres, name: str) -> None:
    """Drop a copy, and end what is still connected to it."""
    with psycopg.connect(postgres.admin_dsn("postgres"), autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)".encode())


RUNNING = pytest.StashKey[EmbeddedPostgres]()


def forget_channels(postgres: EmbeddedPostgres) -> None:
    """Take the channels out of the shared database: one that takes everything would take the next file's messages."""
    with psycopg.connect(postgres.admin_dsn(SHARED), autocommit=True) as admin:
        for table in ("channel", "channel_version"):
            admin.execute(f"delete from {table}".encode())
        admin.execute("update tenant set channel_generation = channel_generation + 1 where channel_generation > 0")


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """Give a running PostgreSQL with the newest schema in the database `concord`, which no test connects to."""
    folder = Path(tempfile.mkdtemp(prefix="concord-tests-"))
    folder.chmod(0o711)
    try:
        with EmbeddedPostgres(folder / "data", _QUICK) as server:
            migrate(server.admin_dsn(), server.server_dsn(), today=datetime.now(UTC).date())
            create_database(server, SHARED)
            request.config.stash[RUNNING] = server
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server_dsn(postgres: EmbeddedPostgres) -> str:
    """Give the connection string of the shared database under the server's role."""
    return postgres.server_dsn(SHARED)


@pytest.fixture(scope="session")
def admin_dsn(postgres: EmbeddedPostgres) -> str:
    """Give the superuser's connection string of the shared database."""
    return postgres.admin_dsn(SHARED)


@pytest.fixture
async def database(server_dsn: str) -> AsyncIterator[Database]:
    """Give the shared database under the server's role."""
    opened = await Database.open(server_dsn, max_size=8)
    yield opened
    await opened.close()


@pytest.fixture
def fresh_name(postgres: EmbeddedPostgres) -> Iterator[str]:
    """Give the name of a database of this test alone."""
    name = f"fresh_{next(_numbers)}"
    create_database(postgres, name)
    yield name
    drop_database(postgres, name)


@pytest.fixture
async def fresh_database(postgres: EmbeddedPostgres, fresh_name: str) -> AsyncIterator[Database]:
    """Give a database of this test alone under the server's role."""
    opened = await Database.open(postgres.server_dsn(fresh_name), max_size=8)
    yield opened
    await opened.close()


async def new_tenants(database: Database, number: int = 2) -> tuple[int, ...]:
    """Make tenants that no other test knows, and return their ids."""
    names = [f"t{next(_numbers)}" for _ in range(number)]
    rows = await database.fetch(
        None, "insert into tenant (name) select name from unnest(%s::text[]) name returning id", (names,)
    )
    return tuple(id_ for (id_,) in rows)


@pytest.fixture
async def tenants(database: Database) -> tuple[int, ...]:
    """Give two tenants of the shared database that are new for this test."""
    return await new_tenants(database)
