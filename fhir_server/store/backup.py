"""A backup: the whole database as one moment saw it, the documents that it refers to, and a manifest of both.

A backup is a folder that has its name only once it is whole. It is taken while the server serves: all that was
acknowledged before its moment is in it. Without the master key, which it holds only if asked to, its records tell
nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec
import psycopg

from fhir_server.store import dump
from fhir_server.store.dump import DumpError
from fhir_server.store.object_copy import Copied, Copier

MANIFEST, DATABASE, LIST, DOCUMENTS, KEY = (
    "manifest.json",
    "database.dump",
    "documents.jsonl",
    "documents",
    "master.key",
)
FORMAT = 1
# Of resources, or of messages that are kept.
_OF_USE = (
    b" from binary_object b where used or exists"
    b" (select from message_object m where m.tenant_id = b.tenant_id and m.key = b.key)"
)
_USED = b"select tenant_id, key, size" + _OF_USE + b" order by tenant_id, key"
_TOGETHER = 1000
_PATH = re.compile(r"\d+/[0-9a-f]{2}/[0-9a-f]{64}(\.sealed)?")


class BackupError(RuntimeError):
    """A backup cannot be taken, is damaged, or cannot be restored; the message says why and what to do."""


class File(msgspec.Struct, frozen=True):
    """A file of a backup."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup is: everything acknowledged before `moment` is in it."""

    format: int
    moment: datetime
    program: str
    revision: str
    postgresql: str
    tenants: int
    resources: int
    master_check: str | None
    database: File
    list: File
    documents: int
    document_bytes: int


class Told(Protocol):
    """Who is told how far a backup is."""

    def database(self, size: int) -> None:
        """The database's file has so many bytes."""

    def documents(self, done: int, of: int) -> None:
        """So many documents are done."""


async def take(
    dsn: str, copier: Copier, folder: Path, *, now: Callable[[], datetime], program: str, key: str | None, told: Told
) -> Manifest:
    """Write a backup into a folder that must not be there. `dsn` is the owner's. Raises BackupError, DumpError."""
    partial = _begun(folder)
    try:
        manifest = await _taken(dsn, copier, partial, now, program, told)
        if key is not None:
            _write(partial / KEY, key.encode())
        _write(partial / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        await asyncio.to_thread(_finished, partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return manifest


def _begun(folder: Path) -> Path:
    """Return the folder in which a backup is made, beside its final name."""
    if folder.exists():
        raise BackupError(f"{folder} exists already: a backup never overwrites anything")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir(mode=0o700)
    return partial


def _finished(partial: Path, folder: Path) -> None:
    """Give a backup its name, once all of it is on the disk."""
    _settle(partial)
    if folder.exists():
        raise BackupError(f"{folder} exists already: a backup never overwrites anything")
    os.rename(partial, folder)
    _sync(folder.parent)


async def _taken(
    dsn: str, copier: Copier, folder: Path, now: Callable[[], datetime], program: str, told: Told
) -> Manifest:
    moment = now()
    async with _snapshot(dsn) as (connection, snapshot):
        facts = await _facts(connection)
        await dump.dump(dsn, snapshot, folder / DATABASE, told.database)
        count, size = await _documents(connection, copier, folder, told)
    return Manifest(
        format=FORMAT,
        moment=moment,
        program=program,
        **facts,
        database=await _made(folder / DATABASE),
        list=await _made(folder / LIST),
        documents=count,
        document_bytes=size,
    )


@asynccontextmanager
async def _snapshot(dsn: str) -> AsyncIterator[tuple[psycopg.AsyncConnection[Any], str]]:
    """Give a connection that sees one moment, and the name by which others see the same."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        row = await _row(connection, b"select rolsuper or rolbypassrls from pg_roles where rolname = current_user")
        if not row[0]:
            raise BackupError(
                "a backup needs a role that sees all tenants: a superuser in CONCORD_MIGRATE_DATABASE_URL"
            )
        for said in (b"statement_timeout = 0", b"idle_in_transaction_session_timeout = 0"):
            await connection.execute(b"set " + said)
        await connection.execute(b"begin isolation level repeatable read, read only")
        (name,) = await _row(connection, b"select pg_export_snapshot()")
        yield connection, name
        await connection.execute(b"commit")


async def _facts(connection: psycopg.AsyncConnection[Any]) -> dict[str, Any]:
    """Return what the manifest says of the database."""
    row = await _row(
        connection,
        b"select (select version_num from alembic_version), current_setting('server_version'),"
        b" (select count(*) from tenant), (select count(*) from resource),"
        b" (select encode(master_check, 'hex') from installation)",
    )
    names = ("revision", "postgresql", "tenants", "resources", "master_check")
    return dict(zip(names, row, strict=True))


async def _documents(
    connection: psycopg.AsyncConnection[Any], copier: Copier, folder: Path, told: Told
) -> tuple[int, int]:
    """Copy the documents that the snapshot's rows use; return how many, and their bytes as they are stored."""
    (of,) = await _row(connection, b"select count(*)" + _OF_USE)
    done = size = 0
    with (folder / LIST).open("wb") as out:
        async with connection.cursor(name="documents") as cursor:
            cursor.itersize = _TOGETHER
            await cursor.execute(_USED)
            async for tenant_id, key, _ in cursor:
                copied = await copier.out(tenant_id, bytes(key), folder / DOCUMENTS)
                out.write(msgspec.json.encode(copied) + b"\n")
                done, size = done + 1, size + copied.bytes
                told.documents(done, of)
    return done, size


async def verify(folder: Path, told: Callable[[int, int], None]) -> Manifest:
    """Return the manifest of a backup all of whose files are as they were written. Raises BackupError, DumpError."""
    manifest = manifest_of(folder)
    for name, wanted in ((DATABASE, manifest.database), (LIST, manifest.list)):
        if await _file(folder / name) != wanted:
            raise BackupError(f"{name} is not as it was written: use another backup")
    if "TABLE DATA public resource " not in await dump.contents(folder / DATABASE):
        raise BackupError(f"{DATABASE} holds no resources: use another backup")
    done = size = 0
    for copied in listed(folder):
        if await _file(folder / DOCUMENTS / copied.path) != File(copied.bytes, copied.sha256):
            raise BackupError(f"document {copied.path} is not as it was written: use another backup")
        done, size = done + 1, size + copied.bytes
        told(done, manifest.documents)
    if (done, size) != (manifest.documents, manifest.document_bytes):
        raise BackupError(f"{LIST} does not name as many documents as the manifest: use another backup")
    return manifest


def manifest_of(folder: Path) -> Manifest:
    """Return the manifest of a backup. Raises BackupError."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise BackupError(f"{folder} is no backup: it has no {MANIFEST}") from None
    except msgspec.DecodeError as problem:
        raise BackupError(f"{folder / MANIFEST} cannot be read: {problem}") from None
    if manifest.format != FORMAT:
        raise BackupError(f"{folder} is of format {manifest.format}: use the program that wrote it")
    return manifest


def listed(folder: Path) -> Iterator[Copied]:
    """Return the documents of a backup."""
    with (folder / LIST).open("rb") as lines:
        for line in lines:
            copied = msgspec.json.decode(line, type=Copied)
            if not _PATH.fullmatch(copied.path):
                raise BackupError(f"{LIST} names {copied.path[:100]!r}, which is no document")
            yield copied


async def _row(connection: psycopg.AsyncConnection[Any], sql: bytes) -> Any:
    found = await (await connection.execute(sql)).fetchone()
    if found is None:
        raise DumpError("the database does not answer as it should")
    return found


async def _file(path: Path) -> File | None:
    """Return what a file is, None where there is none."""
    return await asyncio.to_thread(_hashed, path)


async def _made(path: Path) -> File:
    found = await _file(path)
    if found is None:
        raise BackupError(f"{path} was not written")
    return found


def _hashed(path: Path) -> File | None:
    if not path.is_file():
        return None
    with path.open("rb") as content:
        return File(path.stat().st_size, hashlib.file_digest(content, "sha256").hexdigest())


def _write(path: Path, data: bytes) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "wb") as out:
        out.write(data)


def _settle(folder: Path) -> None:
    """Have every file and folder reach the disk."""
    for root, _, files in os.walk(folder):
        for name in files:
            _sync(Path(root, name))
        _sync(Path(root))


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
