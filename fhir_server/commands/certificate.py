"""concord channel certificate: certificates for trying MLLP over TLS, without another program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from fhir_server.clock import clock
from fhir_server.commands.runtime import fail

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_OURS = ("authority", "server")


def certificate(
    folder: Annotated[Path, typer.Argument(help="Folder for the files; an authority that is there signs again.")],
    server: Annotated[
        list[str] | None, typer.Option(help="Name or address by which senders reach MLLP; may be repeated.")
    ] = None,
    client: Annotated[list[str] | None, typer.Option(help="Name of a sender; may be repeated.")] = None,
    days: Annotated[int, typer.Option(help="How long they are good.", min=1, max=825)] = 30,
) -> None:
    """Make certificates for a trial: an authority, one for MLLP, one for each sender. Not for patients' data."""
    for name in client or []:
        if not _NAME.match(name) or name in _OURS:
            fail(f"{name!r} is no name for a sender: letters, digits and . _ -, and none of {', '.join(_OURS)}")
    try:
        _make(folder, server or [], client or [], days)
    except FileExistsError as problem:
        fail(f"{problem.filename} is there already: remove it, or choose another folder or name")
    except (OSError, ValueError) as problem:
        fail(f"{folder}: {problem}")


def _make(folder: Path, server: list[str], client: list[str], days: int) -> None:
    from adapters.trial_certificates import TrialAuthority  # no other command makes certificates

    authority = TrialAuthority(folder, clock()(), days)
    typer.echo(f"{authority.file}: the authority, for a trial alone; good for {days} days")
    if server:
        authority.receiver(server)
        typer.echo(f"{folder / 'server.pem'}: MLLP at {', '.join(server)}")
    for name in client:
        found = authority.sender(name)
        typer.echo(f"{folder / name}.pem: the sender {name}, dns:{name.lower()}, {found.fingerprint}")
