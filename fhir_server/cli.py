"""concord: the command line. Each command is a file in commands/."""

from __future__ import annotations

from typing import Annotated

import typer

from fhir_server.app import VERSION
from fhir_server.commands import (
    access,
    alerts,
    audit,
    backup,
    care,
    case,
    channel,
    check,
    client,
    deliveries,
    keys,
    load,
    messages,
    migrate,
    parameters,
    parts,
    retain,
    secret,
    send,
    serve,
    simulate,
    sweep,
    tenant,
    token,
    user,
    whatif,
)

app = typer.Typer(
    help="Concord: a FHIR R4 server and HL7 v2 integration engine for clinics that share one installation.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell the version.")
    ] = False,
) -> None:
    """Options that come before any command."""


app.command()(serve.serve)
app.command()(parts.http)
app.command()(parts.mllp)
app.command()(parts.worker)
app.command()(migrate.migrate)
app.command()(check.check)
app.command()(token.token)
app.command()(send.send)
app.command()(simulate.simulate)
app.command()(load.load)
app.command()(sweep.sweep)
app.command()(parameters.parameters)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(backup.verify)
app.add_typer(audit.app, name="audit")
app.add_typer(keys.app, name="keys")
app.add_typer(tenant.app, name="tenant")
app.add_typer(client.app, name="client")
app.add_typer(user.app, name="user")
app.add_typer(channel.app, name="channel")
app.add_typer(alerts.app, name="alerts")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(secret.app, name="secret")
app.add_typer(case.app, name="case")
app.add_typer(care.app, name="care")
messages.app.command("what-if")(whatif.what_if)
messages.app.command()(retain.retain)
app.add_typer(messages.app, name="messages")
app.add_typer(access.app, name="access")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
