"""concord check, the doctor: what must hold for an installation to be safe and fast, and what to do if not."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from fhir_server.app import opened
from fhir_server.app.vault import KeyProblem
from fhir_server.clock import ClockError, clock
from fhir_server.commands.runtime import DataDir, run, settings_of
from fhir_server.errors import FhirError
from fhir_server.settings import Settings, mask, unknown_variables
from fhir_server.store.fact import Fact
from fhir_server.store.objects import probe

_FREE_GIB = 2
_BROKER_SECONDS = 3
_STORE_SECONDS = 10
# Before this the clock of the machine was never set: certificates and tokens would all be of the future.
_LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)


def check(data_dir: DataDir = None) -> None:
    """Look at database, row-level security, leakproof marks, object store, broker, disk, clock and settings.

    Exit status 1 if something is wrong; each line then says what to do.
    """
    from fhir_server.store import doctor  # with SQLAlchemy, for the schema: only this command pays

    settings = settings_of(data_dir=data_dir)
    found: list[Fact] = [*_settings(settings), _disk(settings), _clock(settings), _broker(settings)]

    async def work(dsn: str) -> None:
        found.extend(await doctor.facts(dsn, clock(settings.test_clock)))
        found.append(await _objects(settings))
        found.append(await _encryption(settings, dsn))

    run(settings, work)
    _tell(found)
    raise typer.Exit(0 if all(fact.ok for fact in found) else 1)


def _settings(settings: Settings) -> Iterator[Fact]:
    strange = unknown_variables()
    detail = f"unknown: {', '.join(strange)}" if strange else "every CONCORD_ variable is known"
    yield Fact("settings", not strange, detail, "correct or remove them; docs/settings.md lists all")
    if settings.database_url:
        named = settings.base_url is not None
        detail = settings.base_url or "CONCORD_BASE_URL is not set: tokens and links would name this machine's port"
        yield Fact("base URL", named, detail, "set CONCORD_BASE_URL to the public address before /{tenant}")


def _disk(settings: Settings) -> Fact:
    folder = next(p for p in (settings.data_dir, *settings.data_dir.parents) if p.exists())
    free = shutil.disk_usage(folder).free / 2**30
    return Fact("disk", free >= _FREE_GIB, f"{free:.1f} GiB free at {folder}", f"free at least {_FREE_GIB} GiB")


def _clock(settings: Settings) -> Fact:
    try:
        now = clock(settings.test_clock)()
    except ClockError as problem:
        return Fact("clock", False, str(problem), "write an ISO time into the file of CONCORD_TEST_CLOCK")
    return Fact("clock", now > _LONG_AGO, f"{now:%Y-%m-%d %H:%M:%S} UTC", "set the clock of this machine")


async def _encryption(settings: Settings, dsn: str) -> Fact:
    name, remedy = "encryption", "set CONCORD_MASTER_KEY; `concord keys status` tells what is not encrypted"
    try:
        async with opened(settings, dsn) as concord:
            if concord.db.keyring.on:
                return Fact(name, True, "all that is written is encrypted by its tenant's own key")
    except KeyProblem as problem:
        return Fact(name, False, str(problem), "docs/operations.md tells where a master key is kept")
    except (FhirError, psycopg.Error) as problem:
        return Fact(name, False, f"cannot be told: {type(problem).__name__}", "mend the database first")
    return Fact(name, False, "there is no master key: bodies, messages and documents are stored as they are", remedy)


async def _objects(settings: Settings) -> Fact:
    name, place = "object store", mask(settings.object_store)
    remedy = "make it writable for the server, or mend CONCORD_OBJECT_STORE"
    try:
        async with asyncio.timeout(_STORE_SECONDS):
            await probe(settings.object_store)
    except TimeoutError:
        return Fact(name, False, f"{place} does not answer within {_STORE_SECONDS} s", remedy)
    except Exception as problem:  # each kind of store raises its own
        return Fact(name, False, f"{place}: {type(problem).__name__}", remedy)
    return Fact(name, True, f"{place} takes and gives contents")


def _broker(settings: Settings) -> Fact:
    if settings.broker_url is None:
        return Fact("broker", True, "none set: PostgreSQL wakes the workers")
    from kombu.connection import Connection  # only where there is a broker is it needed

    with Connection(settings.broker_url, connect_timeout=_BROKER_SECONDS) as connection:  # type: ignore[no-untyped-call]
        problem = _refused(lambda: connection.ensure_connection(max_retries=1, timeout=_BROKER_SECONDS))
    return Fact("broker", problem is None, problem or "answers", "start the broker or mend CONCORD_BROKER_URL")


def _refused(ask: Callable[[], object]) -> str | None:
    try:
        ask()
    except Exception as problem:  # each transport raises its own
        return f"{type(problem).__name__}: {problem}"
    return None


def _tell(found: list[Fact]) -> None:
    table = Table("", "Looked at", "Found", box=None)
    for fact in found:
        table.add_row("[green]ok[/]" if fact.ok else "[red]WRONG[/]", fact.name, fact.detail)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for fact in found:
        if not fact.ok:
            console.print(f"{fact.name}: {fact.remedy}", markup=False, highlight=False)
