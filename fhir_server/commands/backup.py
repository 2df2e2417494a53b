"""concord backup, restore, verify: the whole installation into a folder and back. docs/operations.md has the drill."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from fhir_server.app import VERSION
from fhir_server.app.vault import KEY_FILE, file_of
from fhir_server.clock import clock
from fhir_server.commands.runtime import DataDir, fail, owner_dsn, settings_of
from fhir_server.errors import FhirError
from fhir_server.settings import Settings
from fhir_server.store import backup as store
from fhir_server.store import masterkey, restoring
from fhir_server.store.backup import KEY, BackupError, Manifest
from fhir_server.store.dump import DumpError
from fhir_server.store.embedded import EmbeddedError, EmbeddedPostgres
from fhir_server.store.masterkey import MasterKey
from fhir_server.store.migrate import MigrationError
from fhir_server.store.object_copy import Copier

Folder = Annotated[Path, typer.Argument(help="Folder of the backup.")]
_TOLD = (BackupError, DumpError, EmbeddedError, MigrationError, FhirError, OSError, ValueError)


def backup(
    folder: Folder,
    with_master_key: Annotated[
        bool, typer.Option("--with-master-key", help="Put the master key into it: whoever has it can read all.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Write all that the installation holds into a new folder, while it serves; nothing is ever overwritten."""
    settings = settings_of(data_dir=data_dir)
    with failures(), owner_dsn(settings) as dsn, _Bars() as bars:
        key = _key_text(settings) if with_master_key else None
        taking = store.take(
            dsn,
            Copier(settings.object_store),
            folder.absolute(),
            now=clock(settings.test_clock),
            program=VERSION,
            key=key,
            told=bars,
        )
        _tell("taken", folder, uvloop.run(taking))


def verify(folder: Folder) -> None:
    """Look whether every file of a backup is as it was written; exit status 1 if not."""
    with failures(), _Bars() as bars:
        _tell("verified", folder, uvloop.run(store.verify(folder, bars.documents)))


def restore(folder: Folder, data_dir: DataDir = None) -> None:
    """Make a new installation of a backup: into a new data folder, or into an empty database.

    The latter where CONCORD_DATABASE_URL is set; CONCORD_MIGRATE_DATABASE_URL then names it as a superuser.
    """
    settings = settings_of(data_dir=data_dir)
    with failures(), _Bars() as bars:
        manifest = uvloop.run(store.verify(folder, bars.documents))
        restoring.require_known(manifest)
        text = _given_key(settings, folder)
        key = MasterKey.of(text) if text else None
        restoring.require_key(manifest, key)
        with _place(settings, text) as (owner, server, objects):
            today = clock(settings.test_clock)().date()
            work = restoring.restore(
                folder, manifest, owner, server, Copier(objects), key, today=today, told=bars.documents
            )
            uvloop.run(work)
        _tell("restored", folder, manifest)
        if manifest.master_check and key is None:
            typer.echo(f"It is encrypted: put its master key into {settings.data_dir / KEY_FILE} or CONCORD_MASTER_KEY")


@contextmanager
def failures() -> Iterator[None]:
    """Tell what goes wrong with files and databases in one line, and exit."""
    try:
        yield
    except psycopg.Error as problem:
        fail(f"the database does not let us: {str(problem).strip()}")
    except _TOLD as problem:
        fail(str(problem))


@contextmanager
def _place(settings: Settings, key: str | None) -> Iterator[tuple[str, str, str]]:
    """Give the DSNs of owner and server and the object store of an empty installation; its folder is named last."""
    if settings.database_url:
        if not settings.migrate_database_url:
            raise BackupError("set CONCORD_MIGRATE_DATABASE_URL to the empty database as a superuser")
        yield settings.migrate_database_url, settings.database_url, settings.object_store
        return
    folder = settings.data_dir
    if folder.exists() and any(folder.iterdir()):
        raise BackupError(f"{folder} is not empty: restore into a new folder")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    own = "object_store" not in settings.model_fields_set
    objects = (partial / "objects").as_uri() if own else settings.object_store
    try:
        with EmbeddedPostgres(partial) as postgres:
            yield postgres.admin_dsn(), postgres.server_dsn(), objects
        if key is not None and settings.master_key is None and settings.master_key_file is None:
            masterkey.keep(partial / KEY_FILE, key)
        if folder.exists():
            folder.rmdir()
        os.rename(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _key_text(settings: Settings) -> str:
    """Return the master key of a running installation. Raises BackupError."""
    if settings.master_key is not None:
        return settings.master_key.get_secret_value()
    file = file_of(settings)
    if file is None or not file.exists():
        raise BackupError("there is no master key to be put into the backup")
    return file.read_text().strip()


def _given_key(settings: Settings, folder: Path) -> str | None:
    """Return the master key for a restore: the one that is set, or the backup's; None for none."""
    if settings.master_key is not None:
        return settings.master_key.get_secret_value()
    for file in (settings.master_key_file, folder / KEY):
        if file is not None and file.exists():
            return file.read_text().strip()
    return None


def _tell(done: str, folder: Path, manifest: Manifest) -> None:
    size = (manifest.database.bytes + manifest.document_bytes) / 2**20
    typer.echo(
        f"{folder}: {done}; {manifest.resources} resources of {manifest.tenants} tenants and {manifest.documents}"
        f" documents as of {manifest.moment:%Y-%m-%d %H:%M:%S.%f} UTC, {size:.1f} MiB"
    )


class _Bars:
    """How far it is, on standard error where that is a terminal."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._dump: TaskID | None = None
        self._copy: TaskID | None = None

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def database(self, size: int) -> None:
        """The database's file has so many bytes."""
        if self._dump is None:
            self._dump = self._progress.add_task("Database, MiB", total=None)
        self._progress.update(self._dump, completed=size >> 20)

    def documents(self, done: int, of: int) -> None:
        """So many documents are done."""
        if self._copy is None:
            self._copy = self._progress.add_task("Documents", total=of)
        self._progress.update(self._copy, completed=done, total=of)
