"""concord token: a bearer token, alone on standard output."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from fhir_server.commands.runtime import DataDir, TenantName, installation, run, settings_of, with_address
from fhir_server.smart.scopes import require_scopes
from fhir_server.smart.tokens import mint
from fhir_server.store import keys


def token(
    tenant: TenantName,
    scopes: Annotated[str, typer.Option(help="SMART scopes, separated by spaces.")] = "system/*.cruds",
    user: Annotated[str | None, typer.Option(help="Subject of the token; the client where it is not given.")] = None,
    client: Annotated[str, typer.Option(help="Client that the token is for.")] = "concord-cli",
    patient: Annotated[str | None, typer.Option(help="Id of the patient in context, for patient/ scopes.")] = None,
    expires: Annotated[int | None, typer.Option(help="Seconds until it expires.", min=1)] = None,
    data_dir: DataDir = None,
) -> None:
    """Print a bearer token for a tenant's FHIR API."""
    settings = with_address(settings_of(data_dir=data_dir))
    lifetime = timedelta(seconds=expires or settings.token_lifetime)

    async def work(dsn: str) -> None:
        require_scopes(scopes)
        async with installation(settings, dsn, tenant) as (concord, found):
            key = await keys.active(concord.db, found.id)
            typer.echo(
                mint(
                    key,
                    concord.base(found),
                    concord.clock(),
                    tenant=found,
                    scope=scopes,
                    subject=user or client,
                    client=client,
                    patient=patient,
                    lifetime=lifetime,
                )
            )

    run(settings, work)
