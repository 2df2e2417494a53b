"""concord messages what-if: what another definition of a channel would make of messages, and nothing is committed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from fhir_server.app import Concord
from fhir_server.app import what_if as tried
from fhir_server.commands.runtime import DataDir, TenantName, fail, installation, run, settings_of, with_address
from fhir_server.commands.selection import Error, Order, Patient, Sender, Since, States, Types, Until, asked
from fhir_server.commands.shown import shown
from fhir_server.context import Tenant
from fhir_server.engine.directory import Directory, trial
from fhir_server.engine.whatif import Difference, Totals
from fhir_server.operations import messages as operations
from fhir_server.operations.messages import Asked
from fhir_server.store import channels, message_search
from fhir_server.store.message_search import Place

_MOST_ELEMENTS = 30


def what_if(
    tenant: TenantName,
    numbers: Annotated[list[int] | None, typer.Argument(help="Messages; none: the newest of the channel.")] = None,
    file: Annotated[Path | None, typer.Option("--with", help="Definition in JSON to try, as `apply` takes it.")] = None,
    channel: Annotated[str | None, typer.Option(help="Channel whose saved version is to be tried.")] = None,
    version: Annotated[int | None, typer.Option(help="The version of --channel.")] = None,
    state: States = None,
    kind: Types = None,
    sender: Sender = None,
    patient: Patient = None,
    order: Order = None,
    error: Error = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(help="Most messages to take without numbers.", min=1, max=1_000_000)] = 200,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, a line for each message that differs.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Try a definition on messages that were processed: show what would be different, and commit nothing.

    Without numbers the newest messages of the channel are taken, or of those that the options name.
    """
    given = (state or ["done", "buried"], kind, sender, patient, order, None, error, since, until)
    settings = with_address(settings_of(data_dir=data_dir))
    if (file is None) == (channel is None or version is None):
        fail("say what to try: --with FILE, or --channel NAME --version NUMBER")

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            definition = file.read_bytes() if file else await _saved(concord, found, channel or "", version or 0)
            other = trial(found, definition)
            wanted = asked(concord.clock(), [other.name], *given)
            chosen = numbers or await _newest(concord, found, wanted, limit)
            totals = Totals()
            trying = tried(concord, found).differences(chosen, Directory(concord.db).named, other)
            with Progress(console=Console(stderr=True), transient=True) as told:
                bar = told.add_task("Messages", total=len(chosen))
                async for one in trying:
                    told.advance(bar)
                    if _counted(totals, one):
                        _print_json(one) if json else _print(one)
        if not json:
            _print_totals(totals)

    run(settings, work)


def _counted(totals: Totals, one: Difference) -> bool:
    totals.add(one)
    return not one.same


async def _saved(concord: Concord, tenant: Tenant, name: str, version: int) -> bytes:
    known = {one.version: one.definition for one in await channels.versions(concord.db, tenant.id, name)}
    if version not in known:
        fail(f"there is no version {version} of a channel {name}")
    return msgspec.json.encode(known[version])


async def _newest(concord: Concord, tenant: Tenant, given: Asked, limit: int) -> list[int]:
    """Return the numbers of the newest messages of a search, the oldest of them first."""
    wanted = operations.wanted(given, concord.service.hasher, tenant.id)
    found: list[int] = []
    after: Place | None = None
    while len(found) < limit:
        most = min(500, limit - len(found))
        page = await message_search.found(concord.db, tenant.id, wanted, concord.clock(), after=after, limit=most)
        found += [row.id for row in page.messages]
        after = page.next
        if after is None:
            break
    return found[::-1]


def _print_json(one: Difference) -> None:
    typer.echo(msgspec.json.encode(one).decode())


def _print(one: Difference) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for name, changes in one.resources.items():
        console.print(f"[bold]Message {one.message}[/]", shown(name))
        for change in changes:
            came = f"  ({change.field})" if change.field else ""
            both = f"{_shown(change.before)} → {_shown(change.after)}"
            console.print(shown(f"  {change.path}: {both}{came}"))
    for told, why in (("stopped and would not", one.stops_before), ("would stop", one.stops_after)):
        if why and one.stops_before != one.stops_after:
            console.print(f"[bold]Message {one.message}[/]", shown(f"{told}: {why}"))


def _print_totals(totals: Totals) -> None:
    console = Console(soft_wrap=True, highlight=False)
    table = Table("Element", "Changes")
    for path, count in totals.elements.most_common(_MOST_ELEMENTS):
        table.add_row(path, str(count))
    console.print(table)
    console.print(
        f"{totals.changed} of {totals.messages} messages would be different; {totals.stop_now} more would stop,"
        f" {totals.stop_no_more} would stop no more. Nothing was committed."
    )


def _shown(value: Any) -> str:
    return "nothing" if value is None else msgspec.json.encode(value).decode()
