"""concord client: the applications of a tenant that may ask for tokens by themselves."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fhir_server.commands.runtime import DataDir, TenantName, installation, run, settings_of, with_address
from fhir_server.errors import Invalid, NotFound
from fhir_server.smart.assertion import require_jwks
from fhir_server.smart.issuing import token_endpoint
from fhir_server.smart.scopes import require_scopes
from fhir_server.store import clients
from fhir_server.store.clients import Client

app = typer.Typer(help="Register backend services: clients that prove by a key who they are.", no_args_is_help=True)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What people call the application.")],
    tenant: TenantName,
    jwks: Annotated[Path, typer.Option(help="File with its public keys (JWK set); RS384 or ES384.")],
    scopes: Annotated[str, typer.Option(help="The most it may be granted: system scopes, separated by spaces.")],
    client_id: Annotated[str | None, typer.Option(help="Its client_id; made up where it is not given.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Register a backend service and print its client_id alone on standard output."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        if any(scope.context != "system" for scope in require_scopes(scopes)):
            raise Invalid("a backend service acts for itself: its scopes begin with system/")
        made = client_id or str(uuid.uuid4())
        if not 0 < len(made) <= 255 or not made.isprintable():
            raise Invalid("a client_id has 1 to 255 printable characters")
        async with installation(settings, dsn, tenant) as (concord, found):
            client = Client(made, name, scopes, require_jwks(_read(jwks)), concord.clock())
            await clients.add(concord.db, found.id, client)
            typer.echo(f"it gets its tokens at {token_endpoint(concord.base_url, found)}", err=True)
            typer.echo(made)

    run(settings, work)


@app.command("list")
def list_(tenant: TenantName, data_dir: DataDir = None) -> None:
    """List the backend services of a tenant."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            table = Table("Client", "Name", "Scopes", "Keys", "State")
            for one in await clients.all_of(concord.db, found.id):
                kids = ", ".join(key["kid"] for key in one.jwks["keys"])
                table.add_row(one.client_id, one.name, one.scope, kids, "disabled" if one.disabled else "active")
            Console().print(table)

    run(settings, work)


@app.command()
def disable(client_id: str, tenant: TenantName, data_dir: DataDir = None) -> None:
    """Give a backend service no more tokens; those it has expire within minutes."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            if not await clients.disable(concord.db, found.id, client_id, concord.clock()):
                raise NotFound(f"there is no client {client_id} in this tenant")
            typer.echo(f"{client_id} is disabled")

    run(settings, work)


def _read(path: Path) -> object:
    try:
        content: object = json.loads(path.read_bytes())
    except OSError as problem:
        raise Invalid(f"{path} cannot be read: {problem.strerror}") from problem
    except ValueError as problem:
        raise Invalid(f"{path} is not JSON") from problem
    return content
