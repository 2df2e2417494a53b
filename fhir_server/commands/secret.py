"""concord secret: passwords, tokens and private keys of channels, by the names that definitions have for them."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fhir_server.app import Concord
from fhir_server.commands.runtime import DataDir, TenantName, fail, installation, run, settings_of, with_address
from fhir_server.context import Tenant
from fhir_server.operations.channels import Editor
from fhir_server.operations.deliveries import drop_secret, set_secret
from fhir_server.store import secrets

app = typer.Typer(help="Secrets of a tenant's channels; their values are never shown.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the secret, as definitions have it.")]


@app.command("set")
def set_(
    name: Name,
    tenant: TenantName,
    file: Annotated[Path | None, typer.Option(help="File that holds the value, such as a key in PEM.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Give a secret its value: that of a file, of standard input, or as it is typed unseen."""
    value = _value(file)
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            await set_secret(concord.db, _editor(concord, found), name, value)
        typer.echo(f"{name}: set")

    run(settings, work)


@app.command("list")
def list_(tenant: TenantName, data_dir: DataDir = None) -> None:
    """List the secrets of a tenant, without their values."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            table = Table("Secret", "By", "Set (UTC)")
            for one in await secrets.listed(concord.db, found.id):
                table.add_row(one.name, one.author, f"{one.changed:%Y-%m-%d %H:%M:%S}")
        Console().print(table)

    run(settings, work)


@app.command()
def remove(name: Name, tenant: TenantName, data_dir: DataDir = None) -> None:
    """Take a secret away; what needs it is held until there is one again."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            await drop_secret(concord.db, _editor(concord, found), name)
        typer.echo(f"{name}: removed")

    run(settings, work)


def _value(file: Path | None) -> bytes:
    """Return the value; a line end after one line is not part of it."""
    try:
        if file is not None:
            given = file.read_bytes()
        elif sys.stdin.isatty():
            given = getpass.getpass("Value: ").encode()
        else:
            given = sys.stdin.buffer.read()
    except OSError as problem:
        fail(f"{file}: {problem.strerror}")
    return given.rstrip(b"\r\n") if given.count(b"\n") <= 1 else given


def _editor(concord: Concord, tenant: Tenant) -> Editor:
    return Editor(tenant.id, getpass.getuser(), "concord-cli", concord.clock())
