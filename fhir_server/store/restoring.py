"""A backup becomes a database and an object store again: empty ones, never any that hold something."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import psycopg

from fhir_server.store import backup, dump
from fhir_server.store.backup import BackupError, Manifest
from fhir_server.store.masterkey import MasterKey
from fhir_server.store.migrate import ensure_roles, migrate, newest
from fhir_server.store.object_copy import Copier

# Belongs to whoever migrates, and is made anew by it.
_MADE_ANEW = "key_statistics"


async def restore(
    folder: Path,
    manifest: Manifest,
    owner_dsn: str,
    server_dsn: str,
    copier: Copier,
    key: MasterKey | None,
    *,
    today: date,
    told: Callable[[int, int], None],
) -> None:
    """Read a verified backup into an empty database and an object store. Raises BackupError, DumpError, Busy.

    Roles and leakproof marks, which no dump holds, are made as a migration does, and an older schema is migrated.
    """
    require_empty(owner_dsn)
    require_known(manifest)
    ensure_roles(owner_dsn, server_dsn)
    await dump.restore(owner_dsn, folder / backup.DATABASE, without=_MADE_ANEW)
    migrate(owner_dsn, server_dsn, today=today)
    _prove(owner_dsn, manifest, key)
    for number, copied in enumerate(backup.listed(folder), 1):
        await copier.into(copied, folder / backup.DOCUMENTS)
        told(number, manifest.documents)


def require_empty(owner_dsn: str) -> None:
    """Raise BackupError for a database that holds tables."""
    with psycopg.connect(owner_dsn) as admin:
        found = admin.execute(b"select count(*) from pg_tables where schemaname = 'public'").fetchone()
    if found is None or found[0]:
        raise BackupError("the database is not empty: restore into a new one")


def require_known(manifest: Manifest) -> None:
    """Raise BackupError for a backup of a newer program."""
    if manifest.revision > newest():
        raise BackupError(f"the backup is at {manifest.revision}, this program knows up to {newest()}: use a newer one")


def require_key(manifest: Manifest, key: MasterKey | None) -> None:
    """Raise BackupError for a master key that is not the backup's."""
    if key is not None and manifest.master_check is not None and not key.is_of(bytes.fromhex(manifest.master_check)):
        raise BackupError("the master key is not the one by which this backup was encrypted: give the right one")


def _prove(owner_dsn: str, manifest: Manifest, key: MasterKey | None) -> None:
    """Count what was restored, open every data key if that can be done, and have statistics made."""
    with psycopg.connect(owner_dsn, autocommit=True) as admin:
        counted = admin.execute(b"select (select count(*) from tenant), (select count(*) from resource)").fetchone()
        if counted != (manifest.tenants, manifest.resources):
            raise BackupError(f"{counted} tenants and resources were restored, not those of the backup")
        for tenant_id, number, wrapped in admin.execute(b"select tenant_id, id, wrapped from data_key"):
            if key is not None:
                key.unwrap(tenant_id, number, bytes(wrapped))
        admin.execute(b"analyze")
