"""How simulated messages go out: over connections at a rate, each acknowledgement counted and timed; or into files."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from math import ceil
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from adapters.careless import Careless, Manners
from adapters.mllp import NoAnswer
from fhir_server.commands.send import answered
from fhir_server.simulator.stream import Simulated

_WAITING = 64  # messages that wait for a connection that is behind
_LOST = ("none", "unsent", "unreadable", "empty")


class Target(NamedTuple):
    """Where messages go, and how they are written."""

    host: str
    port: int
    manners: Manners
    timeout: float
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def connections(self, number: int) -> list[Careless]:
        """Return so many connections, not open yet. Raises BadParameter where the certificates cannot be used."""
        context = self._context()
        return [Careless(self.host, self.port, self.manners, tls=context, patience=self.timeout) for _ in range(number)]

    def _context(self) -> ssl.SSLContext | None:
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
            if self.cert:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as problem:
            raise typer.BadParameter(f"the certificates cannot be used: {problem}") from None
        return context


class Tally:
    """What became of the messages so far."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.codes: Counter[str] = Counter()
        self.types: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.elapsed = 0.0
        self.stopped = False

    @property
    def unanswered(self) -> int:
        """Return how many got no acknowledgement that could be read."""
        return sum(self.codes[code] for code in _LOST)

    def latency(self, share: float) -> float | None:
        """Return within how many seconds this share of the acknowledgements came; None where there are none."""
        known = sorted(self.seconds)
        return known[max(0, ceil(share * len(known)) - 1)] if known else None


async def transmit(
    messages: Iterator[Simulated], where: Target, connections: int, rate: float, count: int, tally: Tally,
    record: Path | None = None,
) -> None:  # fmt: skip
    """Send messages at a rate, each person's over one connection, in order. `count` is for the bar alone."""
    loop = asyncio.get_running_loop()
    opened = where.connections(connections)
    queues: list[asyncio.Queue[Simulated | None]] = [asyncio.Queue(_WAITING) for _ in range(connections)]
    began = loop.time()
    with ExitStack() as held:
        log = held.enter_context(record.open("w", encoding="utf-8")) if record else None
        progress = held.enter_context(_progress())
        bar = progress.add_task("Sending", total=count or None)

        async def one(connection: Careless, queue: asyncio.Queue[Simulated | None]) -> None:
            while (message := await queue.get()) is not None:
                await _one(connection, message, tally, log)
                progress.advance(bar)
            await connection.close()

        try:
            async with asyncio.TaskGroup() as group:
                for connection, queue in zip(opened, queues, strict=True):
                    group.create_task(one(connection, queue))
                await _feed(messages, queues, rate)
        finally:
            tally.elapsed = loop.time() - began


async def _feed(messages: Iterator[Simulated], queues: list[asyncio.Queue[Simulated | None]], rate: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for place, message in enumerate(messages):
        if rate:
            await asyncio.sleep(max(0.0, began + place / rate - loop.time()))
        await queues[int(message.patient[3:]) % len(queues)].put(message)
    for queue in queues:
        await queue.put(None)


async def _one(connection: Careless, message: Simulated, tally: Tally, log: IO[str] | None) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        code, said = answered(await connection.send(message.data))
        tally.seconds.append(loop.time() - began)
    except NoAnswer as problem:
        code, said = "none", str(problem)
    except (OSError, TimeoutError) as problem:
        code, said = "unsent", str(problem) or "the receiver did not take the connection in time"
    tally.codes[code] += 1
    tally.types[message.type] += 1
    if log is not None:
        row = {
            "number": message.number, "control_id": message.control_id, "type": message.type,
            "patient": message.patient, "code": code, "text": said, "seconds": round(loop.time() - began, 6),
        }  # fmt: skip
        log.write(msgspec.json.encode(row).decode() + "\n")


def write(messages: Iterator[Simulated], folder: Path, tally: Tally) -> None:
    """Write a file for each message, numbered as they would be sent."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, message in enumerate(messages, start=1):
        (folder / f"{place:06d}_{message.type.replace('^', '_')}.hl7").write_bytes(message.data)
        tally.codes["written"] += 1
        tally.types[message.type] += 1


def told(tally: Tally, *, as_json: bool = False) -> None:
    """Print the summary."""
    sent = tally.codes.total()
    p50, p95, most = (tally.latency(share) for share in (0.5, 0.95, 1.0))
    if as_json:
        figures = {
            "seed": tally.seed, "sent": sent, "codes": tally.codes, "types": tally.types,
            "seconds": round(tally.elapsed, 3), "p50": p50, "p95": p95, "max": most,
        }  # fmt: skip
        typer.echo(msgspec.json.encode(figures).decode())
        return
    table = Table("", "", title="Simulated", show_header=False)
    table.add_row("messages", f"{sent}, seed {tally.seed}")
    table.add_row("types", ", ".join(f"{count} {name}" for name, count in sorted(tally.types.items())))
    table.add_row("acknowledgements", ", ".join(f"{count} {code}" for code, count in sorted(tally.codes.items())))
    if tally.elapsed:
        table.add_row("rate", f"{sent / tally.elapsed:.1f} messages/s for {tally.elapsed:.1f} s")
    if p50 is not None and p95 is not None and most is not None:
        table.add_row("latency", f"p50 {p50 * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms, longest {most * 1000:.1f} ms")
    Console().print(table)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
