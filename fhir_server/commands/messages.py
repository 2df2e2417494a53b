"""concord messages: what came in, what became of it, and once more through the steps."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from fhir_server.commands.runtime import (
    DataDir,
    TenantName,
    as_operator,
    fail,
    installation,
    run,
    settings_of,
    with_address,
)
from fhir_server.commands.selection import (
    Channels,
    ControlId,
    Error,
    Order,
    Patient,
    Sender,
    Since,
    States,
    Types,
    Until,
    asked,
    note_seen,
)
from fhir_server.commands.shown import shown
from fhir_server.engine.replay import replay as again
from fhir_server.operations import messages as operations
from fhir_server.operations import replaying
from fhir_server.store import message_search
from fhir_server.store import messages as stored
from fhir_server.store.audit import Audited
from fhir_server.store.lifted import whole
from fhir_server.store.message_search import Place
from fhir_server.store.messages import Summary
from fhir_server.store.objects import Objects
from mappings import hl7v2

app = typer.Typer(help="List, show and replay the HL7 messages of a tenant.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON, a line for each message.")]
Number = Annotated[int, typer.Argument(help="Number of the message, as the list shows it.")]


@app.command("list")
def list_(
    tenant: TenantName,
    channel: Channels = None,
    state: States = None,
    kind: Types = None,
    sender: Sender = None,
    patient: Patient = None,
    order: Order = None,
    control_id: ControlId = None,
    error: Error = None,
    since: Since = None,
    until: Until = None,
    before: Annotated[str | None, typer.Option(help="Only messages before this number: the next page.")] = None,
    limit: Annotated[int, typer.Option(help="Most messages to list.", min=1, max=10_000)] = 50,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List messages, the newest first, with what became of them."""
    given = (channel, state, kind, sender, patient, order, control_id, error, since, until)
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            db, now = concord.db, concord.clock()
            wanted = operations.wanted(asked(now, *given), concord.service.hasher, found.id)
            after = await operations.place(db, found.id, before) if before else None
            page = await message_search.found(db, found.id, wanted, now, after=after, limit=limit)
            await note_seen(concord, found, "message-list", page.messages)
        _print_json(page.messages) if json else _print_table(page.messages, page.next)

    run(settings, work)


@app.command()
def show(
    number: Number,
    tenant: TenantName,
    json: Json = False,
    raw: Annotated[bool, typer.Option("--raw", help="Write the bytes as they came, with all documents.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Show one message whole: what the sender sent, what it was told, what the message became."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            message = await stored.show(concord.db, found.id, number)
            if message is None:
                fail(f"tenant {tenant} has no message {number}")
            await note_seen(concord, found, "message-read", [message.summary])
            if raw:
                await _write_raw(concord.service.objects, found.id, message)
                return
        if json:
            _print_json([message.summary])
        else:
            _print_whole(message)

    run(settings, work)


@app.command()
def replay(
    tenant: TenantName,
    numbers: Annotated[list[int] | None, typer.Argument(help="Messages; none: all that the options name.")] = None,
    channel: Channels = None,
    state: States = None,
    kind: Types = None,
    sender: Sender = None,
    patient: Patient = None,
    order: Order = None,
    control_id: ControlId = None,
    error: Error = None,
    since: Since = None,
    until: Until = None,
    data_dir: DataDir = None,
) -> None:
    """Send messages that are done or buried through the steps once more: those of numbers, or all of a search."""
    given = (channel, state, kind, sender, patient, order, control_id, error, since, until)
    settings = with_address(settings_of(data_dir=data_dir))
    if bool(numbers) == any(given):
        fail("say which: either numbers, or options such as --state buried --since 7d")

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            if not numbers:
                wanted = operations.wanted(asked(concord.clock(), *given), concord.service.hasher, found.id)
                await replaying.start(concord.db, as_operator(concord, found), wanted)
                typer.echo(f"queued: concord messages replays --tenant {tenant} tells how far it is")
                return
            done = await again(concord.db, found.id, numbers)
        typer.echo(f"{len(done.queued)} of {len(set(numbers))} messages are queued again")
        if done.refused:
            fail("; ".join(f"message {number}: {why}" for number, why in done.refused.items()))

    run(settings, work)


@app.command()
def replays(tenant: TenantName, data_dir: DataDir = None) -> None:
    """List the latest replays of searches, and how far each is."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            table = Table("No.", "Started (UTC)", "State", "Looked at", "Queued again")
            for one in await replaying.listed(concord.db, found.id):
                row = (str(one.id), f"{one.created:%Y-%m-%d %H:%M:%S}", one.state, str(one.looked), str(one.queued))
                table.add_row(*row)
        Console().print(table)

    run(settings, work)


async def _write_raw(objects: Objects, tenant_id: int, message: stored.Stored) -> None:
    """Write the bytes of a message as they came, byte by byte; raise Unreadable where they are not what came."""
    async for piece in whole(objects, tenant_id, message.raw, message.lifted, message.content_hash):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


@app.command()
def release(
    numbers: Annotated[list[int], typer.Argument(help="Numbers of the messages, as the list shows them.")],
    tenant: TenantName,
    data_dir: DataDir = None,
) -> None:
    """Have messages processed that were quarantined, because their control ids came before with other content."""
    settings = with_address(settings_of(data_dir=data_dir))

    async def work(dsn: str) -> None:
        async with installation(settings, dsn, tenant) as (concord, found):
            ctx = as_operator(concord, found)
            grant = ctx.grant
            who = Audited(at=ctx.now, action="message-release", subject=grant.subject, client=grant.client, outcome=202)
            done = await stored.release(concord.db, found.id, numbers, who)
        typer.echo(f"{len(done)} of {len(set(numbers))} messages are released")
        if len(done) < len(set(numbers)):
            fail(f"not in quarantine: {', '.join(str(n) for n in dict.fromkeys(numbers) if n not in done)}")

    run(settings, work)


def _print_json(rows: Sequence[Summary]) -> None:
    for row in rows:
        typer.echo(msgspec.json.encode(row).decode())


def _print_table(rows: Sequence[Summary], more: Place | None) -> None:
    table = Table("No.", "Received (UTC)", "Sender", "Type", "Control id", "State", "Tries", "What became of it")
    for row in rows:
        sender = "/".join(part for part in (row.sender_app, row.sender_facility) if part)
        kind = "^".join(part for part in (row.message_type, row.trigger) if part)
        moment = f"{row.received:%Y-%m-%d %H:%M:%S}"
        cells = (str(row.id), moment, sender, kind, row.control_id, row.state, str(row.attempts), _became(row))
        table.add_row(*map(shown, cells))
    Console().print(table)
    if more:
        typer.echo(f"older ones: --before {more.id}")


def _became(row: Summary) -> str:
    problems = [issue for issue in row.reason or () if issue["severity"] in ("error", "fatal")]
    if problems:
        return str(problems[0]["diagnostics"])
    return f"{len(_written(row.result))} resources" if row.state == "done" else ""


def _written(result: Any) -> list[str]:
    return [*result["written"], *result["unchanged"]] if result else []


def _print_whole(message: stored.Stored) -> None:
    console = Console(soft_wrap=True, highlight=False)
    row = message.summary
    console.print(f"[bold]Message {row.id}[/]: {row.state}, received {row.received:%Y-%m-%d %H:%M:%S} UTC, {row.peer}")
    for name, numbers in (("patient", row.patients), ("order", row.orders)):
        if numbers:
            console.print(shown(f"{name} {', '.join(numbers)}"))
    for title, raw in (("Sent", message.raw), ("Acknowledged", message.ack)):
        if raw:
            console.print(f"\n[bold]{title}")
            console.print(shown(hl7v2.decode(raw).text.replace("\r", "\n").rstrip()))
    for number, one in enumerate(message.lifted, 1):
        console.print(f"\n[bold]Document {number}[/]: {one.length} bytes as sent, in front of byte {one.at}; see --raw")
    for issue in row.reason or ():
        place = " ".join(issue.get("expression", ()))
        console.print(shown(f"\n{issue['severity']}: {issue['diagnostics']} {place}".rstrip()))
    if written := _written(row.result):
        console.print("\n[bold]Resources")
        console.print("\n".join(written), markup=False)
