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

from fhir_server.app import Concord
from fhir_server.commands.certificate import certificate
from fhir_server.commands.runtime import DataDir, TenantName, fail, installation, run, settings_of, with_address
from fhir_server.context import Tenant
from fhir_server.operations.channels import Editor, set_state
from fhir_server.operations.channels import apply as save
from fhir_server.operations.channels import promote as have_work
from fhir_server.settings_mllp import ports_of
from fhir_server.store import channels, polls
from fhir_server.store.channels import ChannelState
from fhir_server.store.polls import Look

app = typer.Typer(help="Channels of a tenant: who may send what, and how it is written.", no_args_is_help=True)
app.command()(certificate)
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
            who = _editor(found, concord)
            for name, version in await save(concord.db, who, definitions, note, work=not draft):
                typer.echo(f"{name}: version {version}")

    run(settings, work)


@app.command("list")
def list_(tenant: TenantName, data_dir: DataDir = None) -> None:
    """List the channels of a tenant."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            looks = await polls.all_of(concord.db, found.id)
            table = Table("Channel", "State", "Version", "Changed (UTC)", "Last look (UTC)", "Trouble")
            for one in await channels.all_of(concord.db, found.id):
                look = looks.get(one.name)
                seen = (_moment(look.looked), look.failure if look.failures else "") if look else ("", "")
                table.add_row(one.name, one.state, str(one.version), _moment(one.changed), *seen)
        Console().print(table)

    run(settings, work)


@app.command()
def show(
    name: Name,
    tenant: TenantName,
    version: Annotated[int | None, typer.Option(help="Another version than the one that works.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Print a definition as JSON, as `apply` takes it, and on standard error how its folder or FHIR server fares."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            working = {one.name: one.version for one in await channels.all_of(concord.db, found.id)}
            wanted = working.get(name) if version is None else version
            known = {one.version: one for one in await channels.versions(concord.db, found.id, name)}
            look = (await polls.all_of(concord.db, found.id)).get(name)
        if wanted not in known:
            fail(f"tenant {tenant} has no channel {name}" + (f" of version {version}" if version else ""))
        typer.echo(msgspec.json.format(msgspec.json.encode(known[wanted].definition)).decode())
        if look:
            # Beside the definition, so that this can still be written to a file.
            typer.echo(_told(look), err=True)

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
            chosen = await have_work(concord.db, _editor(found, concord), name, version)
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
            before = await set_state(concord.db, _editor(found, concord), name, state)
        typer.echo(f"{name}: {state} (was {before})")

    run(settings, work)


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else ""


def _told(look: Look) -> str:
    """Return how a source fares, as lines."""
    lines = [f"last look: {_moment(look.looked) or 'none went well yet'}; {look.total} came in all"]
    if look.taken:
        lines.append(f"last came: {_moment(look.taken)}")
    if look.failure:
        still = f", {look.failures} in a row" if look.failures else ", over since"
        lines.append(f"last trouble: {_moment(look.failed)}{still}: {look.failure}")
    return "\n".join(lines)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as problem:
        fail(f"{file}: {problem.strerror}")


def _editor(tenant: Tenant, concord: Concord) -> Editor:
    ports = ports_of(concord.settings.mllp_channel_ports)
    return Editor(tenant.id, getpass.getuser(), "concord-cli", concord.clock(), ports)
