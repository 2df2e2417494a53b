"""concord migrate: bring the database to the newest schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fhir_server.clock import clock
from fhir_server.commands.runtime import fail, settings_of
from fhir_server.settings import Settings
from fhir_server.store import migrate as schema
from fhir_server.store.embedded import EmbeddedError, EmbeddedPostgres, connection_of


def migrate(
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the installation. [env: CONCORD_DATA_DIR]")] = None,
) -> None:
    """Migrate the database: CONCORD_MIGRATE_DATABASE_URL as owner or superuser, or the embedded one."""
    settings = settings_of(data_dir=data_dir)
    try:
        done = _migrated(settings)
    except (EmbeddedError, schema.MigrationError) as problem:
        fail(str(problem))
    typer.echo(f"the schema is at {done.after}" + ("" if done.before == done.after else f", it was at {done.before}"))
    if not done.marked:
        typer.echo("operators are not marked leakproof, as this role is no superuser: searches will be slow", err=True)


def _migrated(settings: Settings) -> schema.Migrated:
    today = clock(settings.test_clock)().date()
    if settings.database_url:
        if not settings.migrate_database_url:
            fail("set CONCORD_MIGRATE_DATABASE_URL to the database as its owner or as a superuser")
        return schema.migrate(settings.migrate_database_url, settings.database_url, today=today)
    running = connection_of(settings.data_dir)
    if running:
        return schema.migrate(running.admin_dsn(), running.server_dsn(), today=today)
    with EmbeddedPostgres(settings.data_dir) as postgres:
        return schema.migrate(postgres.admin_dsn(), postgres.server_dsn(), today=today)
