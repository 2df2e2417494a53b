"""concord tenant: the clinics of the installation."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fhir_server.app import opened
from fhir_server.commands.runtime import DataDir, installation, run, settings_of, with_address
from fhir_server.interactions.reindex import reindex as reindexed
from fhir_server.store import keys, tenants

app = typer.Typer(help="Add and list tenants: the clinics that share this installation.", no_args_is_help=True)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="1 to 63 of a-z 0-9 -; it stands in every address.")],
    data_dir: DataDir = None,
) -> None:
    """Add a tenant, with a signing key of its own."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with opened(settings, dsn) as concord:
            made = await tenants.add(concord.db, name)
            typer.echo(f"tenant {made.name} added; its FHIR base is {concord.base(made)}")

    run(settings, work)


@app.command("list")
def list_(data_dir: DataDir = None) -> None:
    """List the tenants."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with opened(settings, dsn) as concord:
            table = Table("Tenant", "FHIR base")
            for tenant in await tenants.all_of(concord.db):
                table.add_row(tenant.name, concord.base(tenant))
            Console().print(table)

    run(settings, work)


@app.command()
def reindex(
    name: Annotated[str, typer.Argument(help="Name of the tenant, as it stands in addresses.")],
    data_dir: DataDir = None,
) -> None:
    """Have all resources of a tenant indexed anew by the workers, as after an upgrade that indexes more."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, name) as (concord, tenant):
            types = await reindexed(concord.service, tenant, concord.clock())
            typer.echo(f"{types} types of resources wait for the workers to index them anew")

    run(settings, work)


@app.command("new-keys")
def new_keys(
    name: Annotated[str, typer.Argument(help="Name of the tenant, as it stands in addresses.")],
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Let nothing count that older keys signed: for a key that others know.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Let new keys sign the tenant's tokens; those signed before stay good until they expire, unless told otherwise."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, name) as (concord, tenant):
            for alg in (keys.ALGORITHM, keys.IDENTITY_ALGORITHM, keys.ASSERTION_ALGORITHM):
                made = await keys.rotate(concord.db, tenant.id, alg)
                typer.echo(f"{alg} {made.kid}")
            if revoke:
                typer.echo(f"{await keys.revoke(concord.db, tenant.id)} older keys verify nothing any more")

    run(settings, work)
