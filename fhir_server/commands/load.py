"""concord load: FHIR bundles, ndjson files or folders of them into a tenant."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from conformance.structures import Refused, resource_type_of
from fhir_server.app import Concord
from fhir_server.clock import in_milliseconds
from fhir_server.commands.runtime import DataDir, TenantName, installation, run, settings_of, with_address
from fhir_server.context import Context, Grant, Scope, Tenant
from fhir_server.errors import FhirError
from fhir_server.interactions import bulk
from fhir_server.interactions.bulk import Loaded, Unit
from fhir_server.store import marks, tables

_SUFFIXES = (".json", ".ndjson")
_SHOWN = 20
_NOT_VACUUMED = (
    "statistics are fresh; run `vacuum (analyze)` as the owner, for this role may not (PostgreSQL 17 lets it)"
)


class Tally(msgspec.Struct):
    """Counts of a load, and what was refused with file, place and reason."""

    written: int = 0
    before: int = 0
    refused: list[str] = []
    tidied: str = ""

    def add(self, file: Path, loaded: Loaded) -> None:
        """Count one unit."""
        self.written += loaded.written
        self.refused += [f"{file.name} {reason}" for reason in loaded.refused]


def load(
    paths: Annotated[
        list[Path], typer.Argument(help="Bundles (.json), .ndjson files, or folders of them.", exists=True)
    ],
    tenant: TenantName,
    again: Annotated[bool, typer.Option("--again", help="Load also what was loaded before.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Load FHIR resources. What was loaded before is left out, so a load that was stopped goes on where it was.

    Exit status 1 if anything was refused; the reasons are listed, and all that was good is loaded.
    """
    settings = with_address(settings_of(data_dir=data_dir))
    tally = Tally()

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            await _load(concord, found, list(_files(paths)), tally, again=again)

    run(settings, work)
    _tell(tally)
    raise typer.Exit(1 if tally.refused else 0)


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES and p.is_file())
        else:
            yield path


async def _load(concord: Concord, tenant: Tenant, files: list[Path], tally: Tally, *, again: bool) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("bytes"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("Loading", total=sum(f.stat().st_size for f in files))
        for file in files:
            progress.update(bar, description=file.name[:40])
            await _load_file(concord, tenant, file, tally, again=again)
            progress.advance(bar, file.stat().st_size)
    # Statistics of a table that just grew are stale until autovacuum comes by; plans made of them are poor.
    if tally.written >= concord.settings.vacuum_after_load:
        await _tidy(concord, tally)
    elif tally.written:
        await marks.refresh_statistics(concord.db)


async def _tidy(concord: Concord, tally: Tally) -> None:
    """Vacuum and analyse the tables, or analyse them where the role may do no more; the tally says which."""
    done: list[str] = []
    with Progress(TextColumn("{task.description}"), BarColumn(), console=Console(stderr=True), transient=True) as told:
        bar = told.add_task("Vacuuming", total=len(tables.GROWING))
        async for name in tables.vacuum(concord.db.dsn):
            told.update(bar, description=f"Vacuuming {name}", completed=len(done))
            done.append(name)
    if not done:
        await marks.refresh_statistics(concord.db)
    tally.tidied = f"vacuumed and analysed {', '.join(done)}" if done else _NOT_VACUUMED


async def _load_file(concord: Concord, tenant: Tenant, file: Path, tally: Tally, *, again: bool) -> None:
    with file.open("rb") as content:
        source = hashlib.file_digest(content, "sha256").digest()
    if again:
        source = hashlib.sha256(source + concord.clock().isoformat().encode()).digest()
    known = await marks.ranges(concord.db, tenant.id, source)
    try:
        for unit in _units(concord, file):
            if any(first <= unit.first and unit.last <= last for first, last in known):
                tally.before += len(unit.saves)
                continue
            rest = _without(unit, known)
            tally.before += len(unit.saves) - sum(len(u.saves) for u in rest)
            for part in rest:
                tally.add(file, await bulk.load(concord.service, _context(concord, tenant), source, part))
    except FhirError as problem:
        tally.refused.append(f"{file.name}: {problem}")


def _units(concord: Concord, file: Path) -> Iterator[Unit]:
    if file.suffix == ".ndjson":
        yield from bulk.chunks(bulk.save_of(line, f"line {n}") for n, line in _lines(file))
        return
    body = file.read_bytes()
    try:
        bundle = resource_type_of(body) == "Bundle"
    except Refused:
        bundle = False
    yield from bulk.units_of_bundle(concord.service, body) if bundle else bulk.chunks(iter([bulk.save_of(body, "")]))


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    with file.open("rb") as lines:
        yield from ((n, line) for n, line in enumerate(lines, 1) if line.strip())


def _without(unit: Unit, known: list[tuple[int, int]]) -> list[Unit]:
    """Return the unit less what is loaded already: item by item, where it was interrupted among its items."""
    if not any(first <= unit.last and last >= unit.first for first, last in known):
        return [unit]
    numbered = enumerate(unit.saves, unit.first)
    return [Unit(n, n, [s]) for n, s in numbered if not any(first <= n <= last for first, last in known)]


def _context(concord: Concord, tenant: Tenant) -> Context:
    grant = Grant(tenant, "concord-cli", "concord-load", (Scope("system", "*", "cruds"),))
    return Context(grant, concord.base(tenant), in_milliseconds(concord.clock()), "load")


def _tell(tally: Tally) -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{tally.written} resources loaded, {tally.before} were loaded before, {len(tally.refused)} refused")
    if tally.tidied:
        console.print(tally.tidied)
    for line in tally.refused[:_SHOWN]:
        console.print(f"refused: {line}", markup=False)
    if len(tally.refused) > _SHOWN:
        console.print(f"… and {len(tally.refused) - _SHOWN} more")
