"""concord audit: seal, verify and anchor the chain over the audit, and drop days that are old enough."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from conformance.r4.types import CODE_TYPES
from fhir_server.app import Concord, opened
from fhir_server.clock import clock
from fhir_server.commands.runtime import (
    DataDir,
    TenantName,
    fail,
    installation,
    owner_dsn,
    run,
    settings_of,
    with_address,
)
from fhir_server.context import Tenant
from fhir_server.interactions.audit_event import event
from fhir_server.search.date import BEGINNING, FOREVER
from fhir_server.settings import Settings
from fhir_server.store import audit, audit_rows, retention, sealer, tenants
from fhir_server.store.verifier import Anchor, Verified
from fhir_server.store.verifier import verify as verified

app = typer.Typer(help="The audit: its chain, and how long it is kept.", no_args_is_help=True)
_AT_ONCE = 1000
Only = Annotated[str | None, typer.Option("--tenant", help="Only this tenant.")]


async def _chosen(concord: Concord, only: str | None) -> list[Tenant]:
    found = await tenants.all_of(concord.db)
    chosen = [one for one in found if only in (None, one.name)]
    if only is not None and not chosen:
        fail(f"there is no tenant {only!r}; there are: {', '.join(one.name for one in found)}")
    return chosen


@contextlib.asynccontextmanager
async def _each(settings: Settings, dsn: str, only: str | None) -> AsyncIterator[tuple[Concord, list[Tenant]]]:
    async with opened(settings, dsn) as concord:
        yield concord, await _chosen(concord, only)


@app.command()
def seal(tenant: Only = None, data_dir: DataDir = None) -> None:
    """Seal what is committed and in no block yet, also what tells of long ago. The worker seals by itself."""
    settings = settings_of(data_dir=data_dir)

    async def work(dsn: str) -> None:
        async with _each(settings, dsn, tenant) as (concord, chosen):
            for one in chosen:
                rows = await sealer.seal(concord.db, one.id, concord.clock(), whole=True)
                typer.echo(f"{one.name}: {rows} rows sealed")

    run(settings, work)


@app.command()
def verify(
    tenant: Only = None,
    anchors: Annotated[
        Path | None, typer.Option(help="What `concord audit anchor` printed, one or many times.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Follow each chain and name the first link that is broken; the exit status is 1 then."""
    settings = settings_of(data_dir=data_dir)
    known = _anchors(anchors)
    broken: list[str] = []

    async def work(dsn: str) -> None:
        async with _each(settings, dsn, tenant) as (concord, chosen):
            for one in chosen:
                told = await verified(concord.db, one.id, [a for a in known if a.tenant == one.name])
                typer.echo(f"{one.name}: {_words(told)}")
                broken.extend([one.name] if told.broken else [])

    run(settings, work)
    if broken:
        raise typer.Exit(1)


def _words(told: Verified) -> str:
    if told.broken:
        return f"BROKEN: {told.broken}"
    return f"whole: {told.rows} rows in {told.blocks} blocks, the last of them {told.number} {told.hash}"


def _anchors(file: Path | None) -> list[Anchor]:
    if file is None:
        return []
    try:
        return [msgspec.json.decode(line, type=Anchor) for line in file.read_bytes().splitlines() if line.strip()]
    except (OSError, msgspec.DecodeError) as problem:
        fail(f"the anchors cannot be read: {problem}")


@app.command()
def anchor(tenant: Only = None, data_dir: DataDir = None) -> None:
    """Seal, verify, and print the newest block of each chain as a line of JSON: keep it where nobody of here can write.

    Whoever could change the whole chain cannot change what was printed before.
    """
    settings = settings_of(data_dir=data_dir)

    async def work(dsn: str) -> None:
        async with _each(settings, dsn, tenant) as (concord, chosen):
            for one in chosen:
                await sealer.seal(concord.db, one.id, concord.clock())
                told = await verified(concord.db, one.id)
                if told.broken:
                    fail(f"{one.name}: {told.broken}")
                if told.number:
                    typer.echo(msgspec.json.encode(Anchor(one.name, told.number, told.hash)).decode())

    run(settings, work)


@app.command()
def retain(
    days: Annotated[int, typer.Option(min=1, help="Keep so many whole days before today; HIPAA asks for six years.")],
    data_dir: DataDir = None,
) -> None:
    """Drop older days of every tenant, once they are sealed and their chain is whole. It cannot be undone."""
    settings = settings_of(data_dir=data_dir)
    before = clock(settings.test_clock)().date() - timedelta(days=days)

    async def check(dsn: str) -> None:
        async with _each(settings, dsn, None) as (concord, chosen):
            for one in chosen:
                await sealer.seal(concord.db, one.id, concord.clock(), whole=True)
                told = await verified(concord.db, one.id)
                if told.broken:
                    fail(f"{one.name}: {told.broken}; nothing was dropped")

    run(settings, check)
    with owner_dsn(settings) as owner:
        try:
            done = retention.retain(owner, before, clock(settings.test_clock)())
        except retention.Unsealed as problem:
            fail(str(problem))
    typer.echo(f"{len(done.days)} days before {before} were dropped; {done.tenants} chains start later now")


@app.command("who-saw")
def who_saw(
    patient: Annotated[str, typer.Argument(help="Id of the Patient.")],
    tenant: TenantName,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the newest first.")] = 100,
    data_dir: DataDir = None,
) -> None:
    """List who saw or changed the record of a patient, the newest first. It is audited itself."""
    settings = settings_of(data_dir=data_dir)

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, clinic):
            key = concord.service.hasher.self_key(clinic.id, "Patient", patient)
            rows = await audit_rows.page(concord.db, clinic.id, "resource.patient = %s", (key,), limit)
            await _told(concord, clinic, "who-saw", key)
            table = Table("When", "Who", "Client", "Did", "What", "Outcome", "Why")
            for row in rows:
                what = f"{CODE_TYPES[row.type]}/{row.resource_id or ''}" if row.type is not None else ""
                who = row.name or row.subject or ""
                when = row.at.astimezone(UTC).isoformat(timespec="seconds")
                table.add_row(when, who, row.client or "", row.action, what, str(row.outcome), row.purpose or "")
            Console(width=None if sys.stdout.isatty() else 200).print(table)

    run(settings, work)


@app.command()
def export(
    tenant: TenantName,
    since: Annotated[datetime | None, typer.Option(help="From this moment on, in UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Before this moment, in UTC.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Print the audit of a tenant as AuditEvents, one JSON in each line, the oldest first. It is audited itself."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, clinic):
            await _told(concord, clinic, "export", None)
            low = since.replace(tzinfo=UTC) if since else BEGINNING
            high = until.replace(tzinfo=UTC) if until else FOREVER
            place: tuple[datetime, int] | None = (low, -1)
            while place:
                where = "resource.at < %s and (resource.at, resource.id) > (%s, %s)"
                rows = await audit_rows.page(concord.db, clinic.id, where, (high, *place), _AT_ONCE, oldest_first=True)
                for row in rows:
                    typer.echo(event(row, concord.base(clinic)))
                place = (rows[-1].at, rows[-1].id) if len(rows) == _AT_ONCE else None

    run(settings, work)


async def _told(concord: Concord, tenant: Tenant, action: str, patient: int | None) -> None:
    """Record that somebody at the machine looked at the audit."""
    row = audit.Audited(
        at=concord.clock(), action=action, subject=None, client="concord audit", outcome=200, patient=patient
    )
    async with concord.db.transaction(tenant.id) as tx:
        audit.record(tx, [row])
