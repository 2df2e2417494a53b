"""concord deliveries: what was sent on and answered, once more, never, and how the destinations fare."""

from __future__ import annotations

import getpass
from typing import Annotated, cast, get_args

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from fhir_server.app import Concord
from fhir_server.commands.runtime import DataDir, TenantName, fail, installation, run, settings_of, with_address
from fhir_server.context import Tenant
from fhir_server.operations import deliveries as operations
from fhir_server.operations.channels import Editor
from fhir_server.operations.deliveries import Act
from fhir_server.store import delivery_log
from fhir_server.store.delivery_log import Attempt, Row, Wanted
from fhir_server.store.outbox import State
from mappings import hl7v2

app = typer.Typer(help="What channels send on: list, show, retry, cancel.", no_args_is_help=True)
_STATES: tuple[str, ...] = get_args(State)
Json = Annotated[bool, typer.Option("--json", help="Print JSON, a line for each.")]
Number = Annotated[int, typer.Argument(help="Number of the delivery, as the list shows it.")]
Numbers = Annotated[list[int] | None, typer.Argument(help="Numbers of deliveries, as the list shows them.")]
States = Annotated[
    list[str] | None, typer.Option("--state", help=f"Only these: {', '.join(_STATES)}; may be repeated.")
]
Channel = Annotated[str | None, typer.Option(help="Only those of this channel.")]
Destination = Annotated[str | None, typer.Option(help="Only those to this destination.")]
Message = Annotated[int | None, typer.Option(help="Only those of the message of this number.")]


@app.command("list")
def list_(
    tenant: TenantName,
    state: States = None,
    channel: Channel = None,
    destination: Destination = None,
    message: Message = None,
    before: Annotated[int | None, typer.Option(help="Only deliveries before this number: the next page.")] = None,
    limit: Annotated[int, typer.Option(help="Most deliveries to list.", min=1, max=10_000)] = 50,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List deliveries, the newest first, with what became of them."""
    wanted = _wanted(state, channel, destination, message)
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            rows = await delivery_log.listed(concord.db, found.id, wanted, before=before, limit=limit)
        if json:
            _print_json(rows)
        else:
            _print_table(rows, more=len(rows) == limit)

    run(settings, work)


@app.command()
def show(number: Number, tenant: TenantName, data_dir: DataDir = None) -> None:
    """Show one delivery whole: each try, what was sent, what was answered."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            row, attempts = await operations.shown(concord.db, _editor(concord, found), number)
        _print_whole(row, attempts)

    run(settings, work)


@app.command()
def retry(
    tenant: TenantName,
    numbers: Numbers = None,
    state: States = None,
    channel: Channel = None,
    destination: Destination = None,
    data_dir: DataDir = None,
) -> None:
    """Send deliveries now, whatever became of them: those of these numbers, or all of a state or destination."""
    _act("retry", "are due again", tenant, _wanted(state, channel, destination, None, numbers), data_dir)


@app.command()
def cancel(
    tenant: TenantName,
    numbers: Numbers = None,
    state: States = None,
    channel: Channel = None,
    destination: Destination = None,
    data_dir: DataDir = None,
) -> None:
    """Never send deliveries that wait or are held; those behind them in their order go on."""
    _act("cancel", "are cancelled", tenant, _wanted(state, channel, destination, None, numbers), data_dir)


@app.command()
def destinations(tenant: TenantName, json: Json = False, data_dir: DataDir = None) -> None:
    """List the destinations of the working channels, and whether anything is sent there."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            rows = await operations.fares(concord.db, found.id)
        if json:
            _print_json(rows)
            return
        table = Table("Channel", "Destination", "Kind", "Sends", "Failures", "Until (UTC)", "Not done", "Why")
        for one in rows:
            until = f"{one.closed_until:%Y-%m-%d %H:%M:%S}" if one.closed_until else ""
            waiting = ", ".join(f"{n} {state}" for state, n in sorted(one.open.items()))
            table.add_row(one.channel, one.name, one.kind, one.sends, str(one.failures), until, waiting, one.reason)
        Console().print(table)

    run(settings, work)


@app.command()
def pause(channel: str, destination: str, tenant: TenantName, data_dir: DataDir = None) -> None:
    """Send nothing to a destination; what is for it waits in its order."""
    _pause(channel, destination, tenant, data_dir, paused=True)


@app.command()
def resume(channel: str, destination: str, tenant: TenantName, data_dir: DataDir = None) -> None:
    """Send to a destination again."""
    _pause(channel, destination, tenant, data_dir, paused=False)


def _pause(channel: str, destination: str, tenant: str, data_dir: DataDir, *, paused: bool) -> None:
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            place = operations.place(concord.service.hasher, found.id, channel, destination)
            await operations.set_paused(concord.db, _editor(concord, found), place, paused=paused)
        typer.echo(f"{channel}/{destination}: {'paused' if paused else 'sends'}")

    run(settings, work)


def _act(what: Act, said: str, tenant: str, wanted: Wanted, data_dir: DataDir) -> None:
    if wanted.all:
        fail("name deliveries by their numbers, or by --state, --channel or --destination")
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            moved = await operations.act(concord.db, _editor(concord, found), what, wanted)
        typer.echo(f"{len(moved)} deliveries {said}")
        if left := sorted({*wanted.ids} - {one.id for one in moved}):
            fail(f"not {', '.join(map(str, left))}: not there, being sent, or not of a state for this")

    run(settings, work)


def _wanted(
    states: list[str] | None,
    channel: str | None,
    destination: str | None,
    message: int | None,
    ids: list[int] | None = None,
) -> Wanted:
    for name in states or ():
        if name not in _STATES:
            raise typer.BadParameter(f"{name!r} is no state; there are {', '.join(_STATES)}", param_hint="--state")
    given = cast(list[State], states or [])
    return Wanted(states=given, channel=channel, destination=destination, message_id=message, ids=ids or [])


def _editor(concord: Concord, tenant: Tenant) -> Editor:
    return Editor(tenant.id, getpass.getuser(), "concord-cli", concord.clock())


def _print_json(rows: list[Row] | list[operations.Fares]) -> None:
    for row in rows:
        typer.echo(msgspec.json.encode(row).decode())


def _print_table(rows: list[Row], *, more: bool) -> None:
    table = Table("No.", "Message", "Type", "Control id", "To", "State", "Tries", "Next (UTC)", "Why")
    for row in rows:
        kind = "^".join(part for part in (row.message_type, row.trigger) if part)
        due = f"{row.due:%Y-%m-%d %H:%M:%S}" if row.due and row.due.year < 9999 else ""
        to = f"{row.channel}/{row.destination}"
        numbers = (str(row.id), str(row.message_id))
        table.add_row(*numbers, kind, row.control_id, to, row.state, str(row.attempts), due, row.reason)
    Console().print(table)
    if more and rows:
        typer.echo(f"older ones: --before {rows[-1].id}")


def _print_whole(row: Row, attempts: list[Attempt]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    to = f"{row.channel}/{row.destination}"
    console.print(f"[bold]Delivery {row.id}[/] of message {row.message_id} to {to}: {row.state}")
    for one in attempts:
        ended = f"{one.outcome}" if one.ended else "no end: under way, or its process ended"
        console.print(f"\n[bold]Try {one.number}[/], {one.began:%Y-%m-%d %H:%M:%S} UTC: {ended} {one.reason or ''}")
        for title, data, size in (("Sent", one.request, one.request_bytes), ("Answered", one.answer, one.answer_bytes)):
            if data:
                cut = "" if len(data) == size else f", {len(data)} of {size} bytes"
                console.print(f"\n[bold]{title}{cut}")
                console.print(hl7v2.decode(data).text.replace("\r", "\n").rstrip(), markup=False)
