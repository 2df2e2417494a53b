"""concord keys: how data are encrypted, and other keys for them. docs/operations.md says when and how."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.progress import Progress, TextColumn
from rich.table import Table

from fhir_server.app import Concord, opened
from fhir_server.app.vault import NEXT, file_of
from fhir_server.commands.backup import failures
from fhir_server.commands.runtime import DataDir, TenantName, fail, installation, owner_dsn, run, settings_of
from fhir_server.settings import Settings
from fhir_server.store import masterkey, rotation

app = typer.Typer(help="Keys by which data are encrypted.", no_args_is_help=True)


@app.command()
def status(data_dir: DataDir = None) -> None:
    """Tell of each tenant its data keys, and how many bodies and messages are not encrypted."""
    settings = settings_of(data_dir=data_dir)

    async def work(dsn: str) -> None:
        async with opened(settings, dsn) as concord:
            _show(await rotation.status(concord.db))
            if not concord.db.keyring.on:
                typer.echo("There is no master key: nothing is encrypted. Set CONCORD_MASTER_KEY.")

    run(settings, work)


@app.command()
def rotate(
    tenant: TenantName,
    rewrite: Annotated[bool, typer.Option("--rewrite", help="Encrypt what is stored by the new key too.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Make a new data key for a tenant: all that is written from now on is encrypted by it, within half a minute.

    A rewrite that is stopped goes on when it is asked for again; the keys of before stay, for what they encrypted.
    """
    settings = settings_of(data_dir=data_dir)

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            if not concord.db.keyring.on:
                fail("there is no master key: set CONCORD_MASTER_KEY")
            number = await concord.db.keyring.rotate(concord.db, found.id)
            typer.echo(f"{found.name}: data key {number} is in use")

    run(settings, work)
    if rewrite:
        _rewrite(settings, tenant)


@app.command(name="rewrite")
def rewrite_(tenant: TenantName, data_dir: DataDir = None) -> None:
    """Encrypt bodies and history of a tenant by its newest data key, as far as they are not yet."""
    _rewrite(settings_of(data_dir=data_dir), tenant)


@app.command(name="rotate-master")
def rotate_master(
    new_key_file: Annotated[Path | None, typer.Option(help="File with the new key: 32 random bytes in base64.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Wrap every data key by a new master key; nothing else is written anew. Restart the server afterwards.

    With the embedded PostgreSQL the new key is made and put into the data folder; otherwise it comes from a file, and
    CONCORD_MASTER_KEY has to be changed before the restart.
    """
    settings = settings_of(data_dir=data_dir)
    file = file_of(settings) if settings.master_key is None else None
    own = new_key_file is None
    if own and (file is None or file.parent != settings.data_dir):
        fail("say --new-key-file: the master key of this installation is not in its data folder")
    target = file.with_name(file.name + NEXT) if own and file else new_key_file

    async def work(dsn: str) -> None:
        async with opened(settings, dsn) as concord:
            await _rotated(concord, target, own=own)

    run(settings, work)
    if own and file and target:
        os.replace(target, file)
    typer.echo("Restart the server; keep the old key as long as backups that it encrypted.")


async def _rotated(concord: Concord, target: Path | None, *, own: bool) -> None:
    old = concord.db.keyring.master
    if old is None or target is None:
        fail("there is no master key: set CONCORD_MASTER_KEY")
    try:
        new = masterkey.made(target) if own else masterkey.kept(target)
    except ValueError as problem:
        fail(f"{target}: {problem}")
    if new is None:
        fail(f"there is no file {target}")
    count = await rotation.change_master(concord.db, old, new)
    typer.echo(f"{count} data keys are wrapped by the new master key")


def _rewrite(settings: Settings, tenant: str) -> None:
    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            with Progress(TextColumn("{task.description}"), console=Console(stderr=True), transient=True) as bars:
                bar = bars.add_task("0 encrypted anew")
                count = await rotation.rewrite(
                    concord.db, found.id, lambda n: bars.update(bar, description=f"{n} encrypted anew")
                )
        typer.echo(f"{found.name}: {count} versions of resources were encrypted anew")

    with failures(), owner_dsn(settings) as dsn:
        uvloop.run(work(dsn))


def _show(found: list[rotation.State]) -> None:
    table = Table("Tenant", "Data keys", "Newest", "Made", "Not encrypted", box=None)
    for one in found:
        made = f"{one.made:%Y-%m-%d %H:%M} UTC" if one.made else ""
        table.add_row(one.tenant, str(one.keys), str(one.newest or ""), made, str(one.plain))
    Console(width=160).print(table)
