"""concord alerts: what stands, who takes care of it, and who is told."""

from __future__ import annotations

import getpass
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from adapters.web import Refused
from fhir_server.app import Concord
from fhir_server.app.guards import web_of
from fhir_server.commands.runtime import DataDir, TenantName, installation, run, settings_of, with_address
from fhir_server.context import Tenant
from fhir_server.errors import Invalid
from fhir_server.operations import alerts as operations
from fhir_server.operations.channels import Editor
from fhir_server.operations.notices import says
from fhir_server.store import alert_targets, alerts

app = typer.Typer(help="Alerts of a tenant: what is wrong with its channels, and who is told.", no_args_is_help=True)
Work = Callable[[Concord, Tenant, Editor], Awaitable[None]]


@app.command("list")
def list_(
    tenant: TenantName,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are resolved.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=1000)] = 50,
    data_dir: DataDir = None,
) -> None:
    """List the alerts that stand, the newest first."""

    async def work(concord: Concord, found: Tenant, _: Editor) -> None:
        rows = await alerts.listed(concord.db, found.id, standing=not everything, limit=limit)
        table = Table("Number", "Channel", "Kind", "What", "First (UTC)", "Last (UTC)", "State")
        for one in rows:
            state = "resolved" if one.resolved else f"seen by {one.acknowledged_by}" if one.acknowledged else "standing"
            said = says(one.kind, one.detail, one.count)
            times = [f"{moment:%Y-%m-%d %H:%M}" for moment in (one.first, one.last)]
            table.add_row(str(one.id), one.channel or "–", one.kind, said, *times, state)
        Console().print(table)

    _work(tenant, data_dir, work)


@app.command()
def acknowledge(
    number: Annotated[int, typer.Argument(help="Number of the alert.")],
    tenant: TenantName,
    note: Annotated[str | None, typer.Option(help="What is done about it.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Take care of an alert: nobody is reminded of it any more."""

    async def work(concord: Concord, _: Tenant, who: Editor) -> None:
        await operations.acknowledge(concord.db, who, number, note)
        typer.echo(f"alert {number}: acknowledged")

    _work(tenant, data_dir, work)


@app.command("test")
def try_out(tenant: TenantName, data_dir: DataDir = None) -> None:
    """Send a test to every recipient of the tenant; the worker carries it."""

    async def work(concord: Concord, found: Tenant, who: Editor) -> None:
        typer.echo(f"{await operations.test(concord.db, who, found.name)} recipients get a test")

    _work(tenant, data_dir, work)


@app.command()
def tell(
    tenant: TenantName,
    email: Annotated[str | None, typer.Option(help="An e-mail address.")] = None,
    webhook: Annotated[str | None, typer.Option(help="The https address of a webhook.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Have somebody told of the tenant's alerts. The secret that signs what a webhook gets is printed this once."""
    if (email is None) == (webhook is None):
        raise typer.BadParameter("give --email or --webhook")

    async def work(concord: Concord, _: Tenant, who: Editor) -> None:
        try:
            if webhook is not None:
                web_of(concord.settings).require(webhook)
        except Refused as problem:
            raise Invalid(str(problem)) from None
        kind: alert_targets.Kind = "email" if email is not None else "webhook"
        one, secret = await operations.add_target(concord.db, who, kind, email or webhook or "")
        typer.echo(f"{one.address} is told")
        if secret:
            typer.echo(f"secret: {secret}")

    _work(tenant, data_dir, work)


@app.command()
def recipients(tenant: TenantName, data_dir: DataDir = None) -> None:
    """List who is told."""

    async def work(concord: Concord, found: Tenant, _: Editor) -> None:
        table = Table("Kind", "Address", "Since (UTC)", "By")
        for one in await alert_targets.listed(concord.db, found.id):
            table.add_row(one.kind, one.address, f"{one.created:%Y-%m-%d %H:%M}", one.author)
        Console().print(table)

    _work(tenant, data_dir, work)


@app.command()
def forget(
    address: Annotated[str, typer.Argument(help="The address as it is listed.")],
    tenant: TenantName,
    data_dir: DataDir = None,
) -> None:
    """Have somebody told no more."""

    async def work(concord: Concord, _: Tenant, who: Editor) -> None:
        await operations.remove_target(concord.db, who, address)
        typer.echo(f"{address} is told no more")

    _work(tenant, data_dir, work)


def _work(tenant: str, data_dir: Path | None, work: Work) -> None:
    settings = with_address(settings_of(data_dir=data_dir))

    async def main(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            await work(concord, found, Editor(found.id, getpass.getuser(), "concord-cli", concord.clock()))

    run(settings, main)
