"""concord messages retain: messages whose time is over go, and first one may see which."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fhir_server.app import opened, retain_messages
from fhir_server.commands.runtime import DataDir, run, settings_of, with_address
from fhir_server.store import tenants


def retain(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Let the messages of all tenants go whose time is over, as the worker does every hour."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with opened(settings, dsn) as concord:
            names = {tenant.id: tenant.name for tenant in await tenants.all_of(concord.db)}
            told = await retain_messages(concord, really=not dry_run)
        table = Table("Day", "Tenant", "State", "Go", "Stay")
        for one in told:
            table.add_row(str(one.day), names.get(one.tenant_id), one.state, str(one.gone), str(one.kept))
        Console().print(table)
        typer.echo(f"{sum(one.gone for one in told)} messages {'would go' if dry_run else 'are gone'}")

    run(settings, work)
