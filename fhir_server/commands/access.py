"""concord access: the review of who has access to a clinic, and of special access."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from fhir_server.commands.runtime import DataDir, TenantName, as_operator, installation, run, settings_of
from fhir_server.smart.review import Review, review

app = typer.Typer(help="Access: who may see this clinic, and who was let in beyond their role.", no_args_is_help=True)


@app.command("review")
def review_(
    tenant: TenantName,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Special access of so many days.")] = 90,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Print members with their reach, programs with their scopes, and special access."""
    settings = settings_of(data_dir=data_dir)

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            service = concord.service
            told = await review(service.db, service.hasher, as_operator(concord, found), timedelta(days=days))
            if json:
                typer.echo(msgspec.json.encode(told).decode())
            else:
                _print(told)

    run(settings, work)


def _print(told: Review) -> None:
    members = Table(
        "Member", "Role", "Since", "Signed in", "2nd factor", "Patients", "Cases", "Apps", title=told.tenant
    )
    for one in told.members:
        state = " (disabled)" if one.disabled else ""
        members.add_row(
            f"{one.name} <{one.email}>{state}", one.role, f"{one.since:%Y-%m-%d}",
            f"{one.last_signed_in:%Y-%m-%d}" if one.last_signed_in else "", "yes" if one.second_factor else "no",
            str(one.patients), str(one.cases), str(one.apps),
        )  # fmt: skip
    programs = Table("Program", "Scope", "Since", "Disabled")
    for program in told.programs:
        ended = f"{program.disabled:%Y-%m-%d}" if program.disabled else ""
        programs.add_row(program.name, program.scope, f"{program.created:%Y-%m-%d}", ended)
    special = Table("Special access", "Who", "Patient", "Opened", "Reason", "Review")
    for access in told.special:
        verdict = {None: "open", True: "justified", False: "not justified"}[access.justified]
        opened = f"{access.opened:%Y-%m-%d %H:%M}"
        special.add_row(access.kind, access.email, access.patient_id, opened, access.reason, verdict)
    for table in (members, programs, special):
        Console().print(table)
