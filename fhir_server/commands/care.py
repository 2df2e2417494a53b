"""concord care: who cares for a patient, and assignments of patients to practitioners."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fhir_server.commands.runtime import DataDir, TenantName, as_operator, installation, run, settings_of
from fhir_server.interactions import clinic

app = typer.Typer(help="Care: who treats whom, as physicians' access goes by it.", no_args_is_help=True)
Patient = Annotated[str, typer.Argument(help="Patient/ID.")]


@app.command("list")
def list_(patient: Patient, tenant: TenantName, data_dir: DataDir = None) -> None:
    """List who cares for a patient, now or later."""
    settings = settings_of(data_dir=data_dir)

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            table = Table("Entry", "Practitioner", "By", "From", "To")
            for one in await clinic.care_of(concord.service, as_operator(concord, found), patient):
                number = "" if one.id is None else str(one.id)
                table.add_row(number, one.practitioner, one.kind, str(one.valid_from), str(one.valid_to or ""))
            Console().print(table)

    run(settings, work)


@app.command()
def assign(
    practitioner: Annotated[str, typer.Argument(help="Practitioner/ID.")],
    patient: Patient,
    tenant: TenantName,
    data_dir: DataDir = None,
) -> None:
    """Assign a patient to a practitioner until further notice."""
    settings = settings_of(data_dir=data_dir)

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            ctx = as_operator(concord, found)
            made = await clinic.assign_care(concord.service, ctx, practitioner, patient, "assigned", None, None)
            typer.echo(f"entry {made.id}: {practitioner} cares for {patient}")

    run(settings, work)


@app.command()
def end(
    entry: Annotated[int, typer.Argument(help="Number of the entry, as `concord care list` tells it.")],
    tenant: TenantName,
    data_dir: DataDir = None,
) -> None:
    """End an assignment: the next request sees nothing by it."""
    settings = settings_of(data_dir=data_dir)

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            ended = await clinic.end_care(concord.service, as_operator(concord, found), entry)
            typer.echo(f"entry {entry} ended at {ended.valid_to}")

    run(settings, work)
