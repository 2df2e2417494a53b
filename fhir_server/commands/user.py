"""concord user: the people who may sign in, and their roles in the clinics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from fhir_server.app import Concord, opened
from fhir_server.app.accounts import accounts_of
from fhir_server.commands.runtime import DataDir, fail, run, settings_of, tenant_named, with_address
from fhir_server.smart import members
from fhir_server.smart.accounts import Accounts
from fhir_server.smart.members import Admin
from fhir_server.store import people
from fhir_server.store.people import Colleague, Person

app = typer.Typer(help="People: add, invite, give roles, disable, reset.", no_args_is_help=True)
_COMMAND = "concord-cli"

Email = Annotated[str, typer.Argument(help="The person's e-mail address.")]
Clinic = Annotated[str | None, typer.Option("--tenant", help="Name of a clinic.")]
Reference = Annotated[str | None, typer.Option(help="Who they are in its records, such as Practitioner/123.")]
Work = Callable[[Concord, Accounts, Admin], Awaitable[None]]


@app.command()
def add(
    email: Email,
    name: Annotated[str, typer.Option(help="Their name, as pages show it.")],
    tenant: Clinic = None,
    role: Annotated[str | None, typer.Option(help="Their role in the clinic.")] = None,
    reference: Reference = None,
    super_admin: Annotated[bool, typer.Option("--super-admin", help="Runs the whole installation.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Add a person, and print the link by which they choose a password, alone on standard output."""
    if (tenant is None) != (role is None):
        fail("a role is one in a clinic: give both --tenant and --role, or neither")
    if role is None and not super_admin:
        fail("give --tenant and --role, or --super-admin")

    async def work(concord: Concord, accounts: Accounts, admin: Admin) -> None:
        if role:
            members.require_role(role)
        clinic = await tenant_named(concord, tenant) if tenant else None
        person = await members.add(accounts, admin, email, name, super_admin=super_admin)
        if clinic and role:
            await members.give_role(accounts, admin, clinic, person, role, reference)
        await _print_link(concord, accounts, admin, person)

    _run(work, data_dir)


@app.command("list")
def list_(
    tenant: Clinic = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON line for each, with the sub of their tokens.")] = False,
    data_dir: DataDir = None,
) -> None:
    """List the people of a clinic, or of the installation."""

    async def work(concord: Concord, _: Accounts, __: Admin) -> None:
        clinic = await tenant_named(concord, tenant) if tenant else None
        rows = [_told(one) for one in await people.listed(concord.db, clinic.id if clinic else None)]
        if json:
            for row in rows:
                typer.echo(msgspec.json.encode(row).decode())
            return
        table = Table("E-mail address", "Name", "Role", "Reference", "State", "Second factor")
        for row in rows:
            table.add_row(*(text for name, text in row.items() if name != "sub"))
        Console().print(table)

    _run(work, data_dir)


@app.command()
def invite(email: Email, data_dir: DataDir = None) -> None:
    """Print a new link by which a person chooses a password; earlier links are no longer good."""

    async def work(concord: Concord, accounts: Accounts, admin: Admin) -> None:
        await _print_link(concord, accounts, admin, await members.known(accounts, email))

    _run(work, data_dir)


@app.command()
def reset(
    email: Email,
    factors: Annotated[bool, typer.Option("--factors", help="Also take their second factors away.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Print a link by which a person chooses a new password; `--factors` for who has lost phone and codes."""

    async def work(concord: Concord, accounts: Accounts, admin: Admin) -> None:
        await _print_link(concord, accounts, admin, await members.known(accounts, email), clears_factors=factors)

    _run(work, data_dir)


@app.command()
def role(
    email: Email,
    role: Annotated[str, typer.Argument(help="The role, or `none` to end the one they have.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Name of the clinic.")],
    reference: Reference = None,
    data_dir: DataDir = None,
) -> None:
    """Give a person a role in a clinic, another one, or none."""

    async def work(concord: Concord, accounts: Accounts, admin: Admin) -> None:
        clinic, person = await tenant_named(concord, tenant), await members.known(accounts, email)
        if role == "none":
            await members.end_role(accounts, admin, clinic, person)
        else:
            await members.give_role(accounts, admin, clinic, person, role, reference)
        typer.echo(f"{person.email} has {'no role' if role == 'none' else f'the role {role}'} in {clinic.name}")

    _run(work, data_dir)


@app.command()
def disable(email: Email, data_dir: DataDir = None) -> None:
    """Let a person in no more; their sessions end now, their tokens within the second."""
    _on(email, members.disable, "is disabled", data_dir)


@app.command()
def enable(email: Email, data_dir: DataDir = None) -> None:
    """Let a disabled person in again."""
    _on(email, members.enable, "may sign in again", data_dir)


@app.command("sign-out")
def sign_out(email: Email, data_dir: DataDir = None) -> None:
    """End all sessions of a person."""
    _on(email, members.sign_out, "is signed out everywhere", data_dir)


@app.command()
def unlock(email: Email, data_dir: DataDir = None) -> None:
    """Forget a person's failures to sign in, so that they need not wait."""
    _on(email, members.unlock, "may try at once", data_dir)


def _told(one: Colleague) -> dict[str, str]:
    person = one.person
    return {
        "sub": person.sub,
        "email": person.email,
        "name": person.name,
        "role": one.role or ("super-admin" if person.super_admin else ""),
        "reference": one.reference or "",
        "state": "disabled" if person.disabled else "invited" if one.invited else "active",
        "second_factor": "yes" if one.second_factor else "no",
    }


def _on(email: str, change: Callable[[Accounts, Admin, Person], Awaitable[None]], told: str, data_dir: DataDir) -> None:
    async def work(_: Concord, accounts: Accounts, admin: Admin) -> None:
        person = await members.known(accounts, email)
        await change(accounts, admin, person)
        typer.echo(f"{person.email} {told}")

    _run(work, data_dir)


def _run(work: Work, data_dir: DataDir) -> None:
    settings = with_address(settings_of(data_dir=data_dir))

    async def main(dsn: str) -> None:
        async with opened(settings, dsn) as concord:
            await work(concord, accounts_of(concord), Admin(_COMMAND, _COMMAND, concord.clock()))

    run(settings, main)


async def _print_link(
    concord: Concord, accounts: Accounts, admin: Admin, person: Person, *, clears_factors: bool = False
) -> None:
    token = await accounts.invite(person, admin.source, admin.now, clears_factors=clears_factors)
    hours = concord.settings.invitation_lifetime / 3600
    typer.echo(f"for {person.name}; good once, within {hours:.0f} hours:", err=True)
    typer.echo(f"{concord.base_url}/invitation?token={token}")
