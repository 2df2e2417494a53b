"""concord sweep: take away contents of Binaries that no write came to use."""

from __future__ import annotations

import typer

from fhir_server.app import opened
from fhir_server.app import sweep as swept
from fhir_server.commands.runtime import DataDir, run, settings_of


def sweep(data_dir: DataDir = None) -> None:
    """Sweep the object store of what writes that failed left behind. The worker does so every hour by itself.

    It may be stopped and run again at any time.
    """
    settings = settings_of(data_dir=data_dir)

    async def work(dsn: str) -> None:
        async with opened(settings, dsn) as concord:
            typer.echo(f"{await swept(concord)} contents that nothing uses were taken away")

    run(settings, work)
