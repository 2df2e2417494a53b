"""concord channel: what comes in by which door, as files that can be kept in git."""

from __future__ import annotations

import getpass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from fhir_server.commands.runtime import DataDir, TenantName, fail, installation, run, settings_of, with_address
from fhir_server.operations.channels import Editor, set_state
from fhir_server.operations.channels import apply as save
from fhir_server.operations.channels import promote as have_work
from fhir_server.store import channels
from fhir_server.store.channels import ChannelState

app = typer.Typer(help="Channels of a tenant: who may send what, and how it is written.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the channel.")]


@app.command()
def apply(
    files: Annotated[list[Path], typer.Argument(help="Definitions in JSON, one channel in each.")],
    tenant: TenantName,
    note: Annotated[str | None, typer.Option(help="Why, for the history.")] = None,
    draft: Annotated[bool, typer.Option("--draft", help="Save without having it work: promote it later.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Save definitions, all or none, and have them work; what has not changed gets no new version."""
    definitions = [_read(file) for file in files]
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            who = _editor(found.id, concord.clock())
            for name, version in await save(concord.db, who, definitions, note, work=not draft):
                typer.echo(f"{name}: version {version}")

    run(settings, work)


@app.command("list")
def list_(tenant: TenantName, data_dir: DataDir = None) -> None:
    """List the channels of a tenant."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            table = Table("Channel", "State", "Version", "Changed (UTC)")
            for one in await channels.all_of(concord.db, found.id):
                table.add_row(one.name, one.state, str(one.version), f"{one.changed:%Y-%m-%d %H:%M:%S}")
        Console().print(table)

    run(settings, work)


@app.command()
def show(
    name: Name,
    tenant: TenantName,
    version: Annotated[int | None, typer.Option(help="Another version than the one that works.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Print a definition as JSON, as `apply` takes it."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            working = {one.name: one.version for one in await channels.all_of(concord.db, found.id)}
            wanted = working.get(name) if version is None else version
            known = {one.version: one for one in await channels.versions(concord.db, found.id, name)}
        if wanted not in known:
            fail(f"tenant {tenant} has no channel {name}" + (f" of version {version}" if version else ""))
        typer.echo(msgspec.json.format(msgspec.json.encode(known[wanted].definition)).decode())

    run(settings, work)


@app.command()
def history(name: Name, tenant: TenantName, data_dir: DataDir = None) -> None:
    """List the versions of a channel: who made each, when and why."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            table = Table("Version", "Made (UTC)", "By", "Why")
            for one in await channels.versions(concord.db, found.id, name):
                table.add_row(str(one.version), f"{one.created:%Y-%m-%d %H:%M:%S}", one.author, one.note)
        Console().print(table)

    run(settings, work)


@app.command()
def promote(
    name: Name,
    tenant: TenantName,
    version: Annotated[int | None, typer.Option(help="The version; if none, the one before the working one.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Have another version work: a newer one goes live, an older one is a roll-back."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            chosen = await have_work(concord.db, _editor(found.id, concord.clock()), name, version)
        typer.echo(f"{name}: version {chosen} works")

    run(settings, work)


@app.command()
def pause(name: Name, tenant: TenantName, data_dir: DataDir = None) -> None:
    """Take messages but work none; they keep their order until `resume`."""
    _state(name, tenant, data_dir, "paused")


@app.command()
def resume(name: Name, tenant: TenantName, data_dir: DataDir = None) -> None:
    """Take and work messages again."""
    _state(name, tenant, data_dir, "running")


@app.command()
def drain(name: Name, tenant: TenantName, data_dir: DataDir = None) -> None:
    """Work what is there and take nothing new: senders are told to send again later."""
    _state(name, tenant, data_dir, "draining")


def _state(name: str, tenant: str, data_dir: Path | None, state: ChannelState) -> None:
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            before = await set_state(concord.db, _editor(found.id, concord.clock()), name, state)
        typer.echo(f"{name}: {state} (was {before})")

    run(settings, work)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as problem:
        fail(f"{file}: {problem.strerror}")


def _editor(tenant_id: int, now: datetime) -> Editor:
    return Editor(tenant_id, getpass.getuser(), "concord-cli", now)
