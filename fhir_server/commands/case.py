"""concord case: the cases of a tenant, their attorneys and the authorizations of patients."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fhir_server.commands.runtime import DataDir, TenantName, as_operator, installation, run, settings_of
from fhir_server.interactions import clinic

app = typer.Typer(help="Cases: who is attorney, what patients released.", no_args_is_help=True)
CaseId = Annotated[str, typer.Argument(help="Id of the EpisodeOfCare that is the case.")]
Entry = Annotated[int, typer.Argument(help="Number of the entry, as `concord case show` tells it.")]
Email = Annotated[str, typer.Argument(help="Address with which the attorney signs in.")]


@app.command("list")
def list_(
    tenant: TenantName,
    patient: Annotated[str | None, typer.Option(help="Only of this patient: Patient/ID.")] = None,
    number: Annotated[str | None, typer.Option(help="Only of this number.")] = None,
    data_dir: DataDir = None,
) -> None:
    """List cases by id, a thousand at most."""
    settings = settings_of(data_dir=data_dir)

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            ctx = as_operator(concord, found)
            rows = await clinic.listed(concord.service, ctx, patient=patient, number=number, after="", most=1000)
            table = Table("Case", "Patient", "Number", "Type", "Accident", "Status")
            for one in rows:
                accident = " ".join(filter(None, (str(one.accident_date or ""), one.accident_state)))
                table.add_row(one.id, one.patient, one.number, one.type, accident, one.status)
            Console().print(table)

    run(settings, work)


@app.command()
def show(id_: CaseId, tenant: TenantName, data_dir: DataDir = None) -> None:
    """Show who may see a case from outside, and by which authorization."""
    settings = settings_of(data_dir=data_dir)

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            parties = await clinic.parties(concord.service, as_operator(concord, found), id_)
            table = Table("Entry", "What", "Who", "From", "To", "Revoked")
            for one in parties.attorneys:
                who = parties.people[one.person][0]
                table.add_row(str(one.id), one.role, who, str(one.valid_from), str(one.valid_to or ""), "")
            for it in parties.authorizations:
                who = "every attorney" if it.person is None else parties.people[it.person][0]
                ends = (str(it.expires), str(it.revoked_at or ""))
                table.add_row(str(it.id), "release of information", who, str(it.valid_from), *ends)
            Console().print(table)

    run(settings, work)


@app.command()
def attorney(
    id_: CaseId,
    email: Email,
    tenant: TenantName,
    role: Annotated[str, typer.Option(help="lead, co-counsel or paralegal.")] = "lead",
    data_dir: DataDir = None,
) -> None:
    """Make somebody attorney of a case, from now on."""
    settings = settings_of(data_dir=data_dir)

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            ctx = as_operator(concord, found)
            made = await clinic.add_attorney(concord.service, ctx, id_, email, role, None, None)
            typer.echo(f"entry {made.id}: {email} is {role} of {id_}")

    run(settings, work)


@app.command("end-attorney")
def end_attorney(id_: CaseId, entry: Entry, tenant: TenantName, data_dir: DataDir = None) -> None:
    """End somebody's being attorney of a case."""
    settings = settings_of(data_dir=data_dir)

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            ended = await clinic.end_attorney(concord.service, as_operator(concord, found), id_, entry, None)
            typer.echo(f"entry {ended.id} ended at {ended.valid_to}")

    run(settings, work)


@app.command()
def authorize(
    id_: CaseId,
    tenant: TenantName,
    expires: Annotated[datetime, typer.Option(help="Day on which it ends, in UTC.", formats=["%Y-%m-%d"])],
    email: Annotated[str | None, typer.Option(help="The only recipient; every attorney where none is given.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Record a release of information: the patient lets the case be shown."""
    settings = settings_of(data_dir=data_dir)

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            ctx = as_operator(concord, found)
            made = await clinic.authorize(concord.service, ctx, id_, email, None, expires.replace(tzinfo=UTC))
            typer.echo(f"entry {made.id}: {id_} may be shown until {made.expires}")

    run(settings, work)


@app.command()
def revoke(id_: CaseId, entry: Entry, tenant: TenantName, data_dir: DataDir = None) -> None:
    """Revoke a release of information: the next request sees nothing by it."""
    settings = settings_of(data_dir=data_dir)

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            gone = await clinic.revoke(concord.service, as_operator(concord, found), id_, entry)
            typer.echo(f"entry {gone.id} revoked at {gone.revoked_at}")

    run(settings, work)
