"""The demo of `concord serve --demo`: two tenants, a few messages through the MLLP port, and what to try next."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

import fhir_server
from adapters.mllp import Sender
from fhir_server.app import Concord, opened
from fhir_server.commands import demo_people
from fhir_server.context import Tenant
from fhir_server.settings import Settings
from fhir_server.smart.tokens import mint
from fhir_server.store import keys, messages, tenants

TENANTS = ("demo", "other")
_MAPPED_WITHIN = 30.0


async def prepare(settings: Settings, *, demo: bool) -> None:
    """Make the tenants of the demo, and make sure that the tenant of the MLLP port exists."""
    async with opened(settings, str(settings.database_url)) as concord:
        for name in TENANTS if demo else ():
            if await tenants.by_name(concord.db, name) is None:
                await tenants.add(concord.db, name)
        lab = settings.mllp_tenant
        if lab and await tenants.by_name(concord.db, lab) is None:
            raise LookupError(f"there is no tenant {lab!r} for the MLLP port: concord tenant add {lab}")


async def show(settings: Settings) -> None:
    """Send the messages once in the life of a data folder, wait until they are mapped, and print the panel."""
    async with opened(settings, str(settings.database_url)) as concord:
        tenant = await tenants.by_name(concord.db, "demo")
        assert tenant is not None
        password = await demo_people.make(concord, tenant)
        if not await messages.counts(concord.db, tenant.id):
            await _send(settings)
            await _mapped(concord, tenant)
        await demo_people.settle(concord, tenant)
        await _tell(concord, tenant, password)


def texts() -> list[bytes]:
    """Return the demo's messages, invented ones, in order."""
    return [f.read_bytes().replace(b"\r\n", b"\r").replace(b"\n", b"\r") for f in files()]


def files() -> list[Path]:
    """Return the demo's message files, in the order in which they tell their story."""
    return sorted((Path(fhir_server.__file__).parent / "demo").glob("*.hl7"))


async def _send(settings: Settings) -> None:
    sender = Sender(settings.mllp_host, settings.mllp_port)
    for message in texts():
        await sender.send(message)
    await sender.close()


async def _mapped(concord: Concord, tenant: Tenant) -> None:
    async with asyncio.timeout(_MAPPED_WITHIN):
        while (await messages.counts(concord.db, tenant.id)).get("received"):  # noqa: ASYNC110 - the worker is another process
            await asyncio.sleep(0.05)


async def _tell(concord: Concord, tenant: Tenant, password: str) -> None:
    """Print where everything is, and commands on lines of their own outside the frame, so that they can be copied."""
    settings, base = concord.settings, concord.base(tenant)
    counts = await messages.counts(concord.db, tenant.id)
    table = Table.grid(padding=(0, 2))
    table.add_row("[bold]FHIR", base)
    table.add_row("[bold]Sign in", f"{concord.base_url}/login")
    table.add_row("[bold]  as", ", ".join(email for email, *_ in demo_people.PEOPLE))
    table.add_row("[bold]  password", f"{password} (another at each start)")
    table.add_row("[bold]Operator page", f"{concord.base_url}/console")
    table.add_row("[bold]HL7 v2 (MLLP)", f"{settings.mllp_host}:{settings.mllp_port}")
    table.add_row("[bold]Data folder", str(settings.data_dir))
    table.add_row("[bold]Messages", ", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
    console = Console(highlight=False, soft_wrap=True)
    console.print(Panel(table, title="Concord is running", border_style="green", expand=False))
    for line in _commands(settings, base, await _token(concord, tenant)):
        console.print(line, markup=False)


async def _token(concord: Concord, tenant: Tenant) -> str:
    key = await keys.active(concord.db, tenant.id)
    return mint(
        key,
        concord.base(tenant),
        concord.clock(),
        tenant=tenant,
        scope="system/*.cruds",
        subject="demo",
        client="demo",
        lifetime=timedelta(hours=12),
    )


def _commands(settings: Settings, base: str, token: str) -> list[str]:
    ask = f"curl -s -H 'Authorization: Bearer {token}' '{base}"
    return [
        "",
        "See what the messages became, patients and reports (the token is good for 12 hours):",
        f"{ask}/Patient?_pretty=true' '{base}/DiagnosticReport?_pretty=true'",
        "",
        "Send a message again, or one of yours (in another terminal):",
        f"concord send {files()[-1]} --to {settings.mllp_host}:{settings.mllp_port}",
        "",
        "Stop: Ctrl-C",
    ]
