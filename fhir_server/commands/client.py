"""concord client: the applications of a tenant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fhir_server.commands.runtime import DataDir, TenantName, installation, run, settings_of, with_address
from fhir_server.context import oauth_address
from fhir_server.errors import Invalid, NotFound
from fhir_server.smart.registration import Registration, register
from fhir_server.store import clients, opaque
from fhir_server.store.clients import Client, Kind

app = typer.Typer(help="Register the applications that may ask for tokens.", no_args_is_help=True)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What people call the application.")],
    tenant: TenantName,
    scopes: Annotated[str, typer.Option(help="The most it may be granted, separated by spaces.")],
    kind: Annotated[
        Kind, typer.Option(help="How it proves who it is: not at all, by a secret, or by a key.")
    ] = "asymmetric",
    jwks: Annotated[Path | None, typer.Option(help="File with its public keys (JWK set); RS384 or ES384.")] = None,
    jwks_uri: Annotated[str | None, typer.Option(help="Address of its public keys, instead of a file.")] = None,
    redirect_uri: Annotated[
        list[str] | None, typer.Option(help="Where people are sent back to; may stand there more than once.")
    ] = None,
    launch_uri: Annotated[str | None, typer.Option(help="Where it is started from here, with a patient.")] = None,
    origin: Annotated[
        list[str] | None, typer.Option(help="Web pages that may call from a browser, beside the redirect URIs'.")
    ] = None,
    client_id: Annotated[str | None, typer.Option(help="Its client_id; made up where it is not given.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Register an application; print its client_id, and below it the secret of a symmetric one, which is shown once."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        asked = Registration(
            name=name, kind=kind, scope=scopes, client_id=client_id, redirect_uris=redirect_uri or (),
            launch_uri=launch_uri, jwks=_read(jwks) if jwks else None, jwks_uri=jwks_uri, origins=origin or (),
        )  # fmt: skip
        async with installation(settings, dsn, tenant) as (concord, found):
            client, secret = await register(concord.db, found.id, concord.service.rules, asked, concord.clock())
            typer.echo(f"it gets its tokens at {oauth_address(concord.base_url, found, 'token')}", err=True)
            typer.echo("\n".join([client.client_id, *([secret] if secret else [])]))

    run(settings, work)


@app.command("list")
def list_(tenant: TenantName, data_dir: DataDir = None) -> None:
    """List the applications of a tenant."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            table = Table("Client", "Name", "Kind", "Scopes", "Keys", "Redirect URIs", "State")
            for one in await clients.all_of(concord.db, found.id):
                state = "disabled" if one.disabled else "active"
                uris = "\n".join(one.redirect_uris)
                table.add_row(one.client_id, one.name, one.kind, one.scope, _keys(one), uris, state)
            Console().print(table)

    run(settings, work)


@app.command()
def disable(client_id: str, tenant: TenantName, data_dir: DataDir = None) -> None:
    """Give an application no more tokens; those it has stop within a second or so."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            if not await clients.disable(concord.db, found.id, client_id, concord.clock()):
                raise NotFound(f"there is no client {client_id} in this tenant")
            typer.echo(f"{client_id} is disabled")

    run(settings, work)


@app.command("new-secret")
def new_secret(client_id: str, tenant: TenantName, data_dir: DataDir = None) -> None:
    """Give a symmetric application another secret, shown once; the old one is good no more."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            secret = opaque.new()
            if not await clients.change_secret(concord.db, found.id, client_id, opaque.hashed(secret)):
                raise NotFound(f"there is no client {client_id} with a secret in this tenant")
            typer.echo(secret)

    run(settings, work)


def _keys(client: Client) -> str:
    if client.jwks is None:
        return client.jwks_uri or ""
    return ", ".join(key["kid"] for key in client.jwks["keys"])


def _read(path: Path) -> object:
    try:
        content: object = json.loads(path.read_bytes())
    except OSError as problem:
        raise Invalid(f"{path} cannot be read: {problem.strerror}") from problem
    except ValueError as problem:
        raise Invalid(f"{path} is not JSON") from problem
    return content
