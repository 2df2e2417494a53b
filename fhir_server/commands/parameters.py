"""concord parameters: the search parameters that a tenant has defined, and how far the index is with each."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from fhir_server.app import Concord
from fhir_server.commands.runtime import DataDir, TenantName, installation, run, settings_of, with_address
from fhir_server.context import Tenant
from fhir_server.store import parameters as stored

_LOOK_EVERY = 0.5


class Row(msgspec.Struct, frozen=True):
    """One parameter; `total` None where its resources are not counted yet."""

    id: str
    code: str
    types: str
    state: str
    done: int
    total: int | None
    failed: int


def parameters(
    tenant: TenantName,
    follow: Annotated[bool, typer.Option("--follow", help="Show a bar for each until all can be searched.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, a line for each parameter.")] = False,
    data_dir: DataDir = None,
) -> None:
    """List the search parameters that a tenant has defined, with how many resources are indexed by each."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            if follow:
                await _follow(concord, found)
            rows = await _rows(concord, found)
        if json:
            for row in rows:
                typer.echo(msgspec.json.encode(row).decode())
        else:
            _print(rows)

    run(settings, work)


async def _rows(concord: Concord, tenant: Tenant) -> list[Row]:
    _, found = await stored.load(concord.db, tenant.id)
    rows = []
    for one in found:
        progress = await stored.progress(concord.db, tenant.id, one.id)
        if progress is not None:
            types: list[str] = one.definition["types"]
            shown = ", ".join(types[:3]) + (f" and {len(types) - 3} more" if len(types) > 3 else "")
            state = "active" if progress.finished else "indexing"
            rows.append(
                Row(one.id, one.definition["code"], shown, state, progress.done, progress.total, progress.failed)
            )
    return rows


async def _follow(concord: Concord, tenant: Tenant) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        bars = {row.id: shown.add_task(row.code, total=row.total) for row in await _rows(concord, tenant)}
        while waiting := [row for row in await _rows(concord, tenant) if row.state == "indexing"]:
            for row in waiting:
                if row.id in bars:
                    shown.update(bars[row.id], completed=row.done, total=row.total)
            await asyncio.sleep(_LOOK_EVERY)


def _print(rows: list[Row]) -> None:
    table = Table("SearchParameter", "Code", "Of", "State", "Indexed", "Of all", "Unreadable")
    for row in rows:
        total = "" if row.total is None else str(row.total)
        table.add_row(row.id, row.code, row.types, row.state, str(row.done), total, str(row.failed or ""))
    Console().print(table)
