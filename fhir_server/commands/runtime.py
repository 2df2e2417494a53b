"""What commands share: the database of the settings, the address of a running server, and errors a person can use."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import psycopg
import typer
import uvloop
from rich.console import Console

from fhir_server import logs
from fhir_server.app import Concord, opened
from fhir_server.app.vault import KeyProblem
from fhir_server.clock import clock, in_milliseconds
from fhir_server.context import Context, Grant, Scope, Tenant
from fhir_server.errors import FhirError
from fhir_server.settings import Settings, SettingsError
from fhir_server.store import tenants
from fhir_server.store.embedded import CLUSTER, EmbeddedError, EmbeddedPostgres, connection_of
from fhir_server.store.migrate import MigrationError, migrate

DataDir = Annotated[Path | None, typer.Option(help="Folder of the installation. [env: CONCORD_DATA_DIR]")]
TenantName = Annotated[str, typer.Option(help="Name of the tenant, as it stands in addresses.")]
ADDRESS = "serve.json"


class Address(msgspec.Struct, frozen=True):
    """Where `concord serve` answers; written into the data folder, so that other commands find it."""

    base_url: str
    http_port: int
    mllp_port: int
    pid: int
    mllp_tls_port: int = 0


def fail(reason: str) -> NoReturn:
    """Tell why on standard error and exit with status 1."""
    Console(stderr=True).print(f"concord: {reason}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)


def settings_of(**flags: Any) -> Settings:
    """Return the settings with these flags, logging set up; exit with the reason where they do not fit."""
    try:
        settings = Settings.load(**flags)
    except SettingsError as problem:
        fail(str(problem))
    logs.configure(settings.log_level, settings.log_format)
    return settings


def address_of(settings: Settings) -> Address | None:
    """Return where the server of this data folder answers, or answered last."""
    try:
        return msgspec.json.decode((settings.data_dir / ADDRESS).read_bytes(), type=Address)
    except (OSError, msgspec.DecodeError):
        return None


def with_address(settings: Settings) -> Settings:
    """Return settings whose base URL is the running server's, unless one is set."""
    known = address_of(settings) if settings.base_url is None and settings.database_url is None else None
    return settings.evolve(base_url=known.base_url) if known else settings


@contextmanager
def server_dsn(settings: Settings) -> Iterator[str]:
    """Give the server role's DSN: the set one, the running embedded server's, or one that is started for the block."""
    if settings.database_url:
        yield settings.database_url
        return
    running = connection_of(settings.data_dir)
    if running is not None:
        yield running.server_dsn()
        return
    with EmbeddedPostgres(settings.data_dir) as postgres:
        migrate(postgres.admin_dsn(), postgres.server_dsn(), today=clock(settings.test_clock)().date())
        yield postgres.server_dsn()


@contextmanager
def owner_dsn(settings: Settings) -> Iterator[str]:
    """Give the DSN of a role that sees all: the set one, or the embedded superuser's; exit where there is none."""
    if settings.database_url:
        if not settings.migrate_database_url:
            fail("set CONCORD_MIGRATE_DATABASE_URL to the database as a superuser")
        yield settings.migrate_database_url
        return
    running = connection_of(settings.data_dir)
    if running is not None:
        yield running.admin_dsn()
        return
    if not (settings.data_dir / CLUSTER).exists():
        fail(f"there is no installation in {settings.data_dir}")
    with EmbeddedPostgres(settings.data_dir) as postgres:
        yield postgres.admin_dsn()


@asynccontextmanager
async def installation(settings: Settings, dsn: str, tenant: str) -> AsyncIterator[tuple[Concord, Tenant]]:
    """Open the installation and one tenant of it; exit with the known names where there is no such tenant."""
    async with opened(settings, dsn) as concord:
        yield concord, await tenant_named(concord, tenant)


async def tenant_named(concord: Concord, name: str) -> Tenant:
    """Return the tenant of this name; exit with the known names where there is none."""
    found = await tenants.by_name(concord.db, name)
    if found is None:
        names = ", ".join(t.name for t in await tenants.all_of(concord.db)) or "none yet: concord tenant add NAME"
        fail(f"there is no tenant {name!r}; there are: {names}")
    return found


def as_operator(concord: Concord, tenant: Tenant) -> Context:
    """Return the context of what an operator does on the command line, as the audit tells it."""
    grant = Grant(tenant, "concord-cli", "concord-cli", (Scope("system", "*", "cruds"),))
    return Context(grant, concord.base(tenant), in_milliseconds(concord.clock()), "command")


def run(settings: Settings, work: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    """Run `work(dsn)` against the database of the settings; failures a person can mend are told in one line."""
    try:
        with server_dsn(settings) as dsn:
            uvloop.run(work(dsn))
    except psycopg.OperationalError as problem:
        fail(f"the database cannot be reached: {str(problem).strip()}; concord check tells more")
    except (EmbeddedError, MigrationError, KeyProblem, FhirError, OSError) as problem:
        fail(str(problem))
