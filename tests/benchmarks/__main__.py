"""Fill a server, drive it, and print what each operation costs.

CPU milliseconds per operation, of the server and of PostgreSQL, are the figure to steer by: wall time depends on what
else the machine does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tests.benchmarks import cpu, report
from tests.benchmarks.cases import Case, Cases
from tests.benchmarks.client import Http, Mllp, drive
from tests.benchmarks.fill import TENANT, fill, filled
from tests.benchmarks.made import HERE
from tests.benchmarks.server import Server

Row = dict[str, Any]
_LEAST = 20  # messages of a case


async def measured(
    server: Server,
    name: str,
    concurrency: int,
    count: int,
    senders: list[Callable[[], Awaitable[None]]],
    settle: Callable[[], Awaitable[None]] | None = None,
    bar: float | None = None,
) -> Row:
    """Drive one case and return its row; `settle` waits for work that goes on after the last answer."""
    await drive(senders, max(count // 10, concurrency))
    if settle:
        await settle()
    server.refresh_statistics()
    before = cpu.usage(server.process.pid)
    wall, took = await drive(senders, count)
    if settle:
        begun = asyncio.get_running_loop().time()
        await settle()
        wall += asyncio.get_running_loop().time() - begun
    used = cpu.usage(server.process.pid).since(before)
    cuts = statistics.quantiles(took, n=20)
    row = {
        "case": name,
        "concurrency": concurrency,
        "count": count,
        "server_ms": round(used.server * 1000 / count, 3),
        "postgres_ms": round(used.postgres * 1000 / count, 3),
        "cpu_ms": round((used.server + used.postgres) * 1000 / count, 3),
        "bar_ms": bar,
        "per_second": round(count / wall, 1),
        "p50_ms": round(cuts[9] * 1000, 2),
        "p95_ms": round(cuts[18] * 1000, 2),
    }
    Console(stderr=True).print(f"{name}, {concurrency}: {row['cpu_ms']} ms", markup=False, highlight=False)
    return row


async def http_rows(server: Server, token: str, cases: list[Case], scale: float) -> list[Row]:
    """Measure the REST cases, with one client and with several."""
    port = server.ready["http_port"]
    rows = []
    for case in cases:
        for concurrency in case.clients:
            clients = [Http(port, token) for _ in range(concurrency)]
            senders = [partial(case.call, client) for client in clients]
            times = case.times(scale)
            rows.append(await measured(server, case.name, concurrency, times, senders, bar=case.bar))
            for client in clients:
                client.close()
    return rows


async def mllp_rows(server: Server, token: str, scale: float, only: str) -> list[Row]:
    """Measure accepting messages, accepting and mapping them to the last one, and until one is seen over FHIR."""
    template = (HERE / "oru_2k5.hl7").read_bytes().replace(b"\r\n", b"\r").replace(b"\n", b"\r")
    http = Http(server.ready["http_port"], token)
    sent = 0
    rows = []

    async def settled() -> None:
        while True:
            answer = await http.send("GET", "/demo/api/messages/counts")
            counts = json.loads(answer.body)
            if not counts.get("received"):
                return
            await asyncio.sleep(0.1)  # each look counts the inbox, which costs as well

    def sender(client: Mllp) -> Callable[[], Awaitable[None]]:
        async def send() -> None:
            nonlocal sent
            sent += 1
            acknowledgement = await client.send(renumbered(template, sent))
            assert b"|AA|" in acknowledgement, acknowledgement

        return send

    def looking(client: Mllp) -> Callable[[], Awaitable[None]]:
        async def send() -> None:
            await sender(client)()
            # What looking costs is in this case's CPU; its times are what is asked.
            while (
                b'"entry"' not in (await http.send("GET", f"/demo/fhir/DiagnosticReport?identifier=B{sent:010}")).body
            ):
                await asyncio.sleep(0.002)

        return send

    for name, of, end, several in (
        ("MLLP accept (map goes on beside)", sender, None, (1, 16, 32)),
        ("MLLP accept to mapped", sender, settled, (1, 16)),
        ("MLLP first byte to visible over FHIR", looking, None, (1,)),
    ):
        for concurrency in several:
            if only in name:
                clients = [Mllp(server.ready["mllp_port"]) for _ in range(concurrency)]
                senders = [of(client) for client in clients]
                rows.append(await measured(server, name, concurrency, max(_LEAST, int(500 * scale)), senders, end))
                await settled()
                for client in clients:
                    client.close()
    return rows


# Control id, patient number, placer and filler order number of oru_2k5.hl7.
_NUMBERS = (b"NL-2026-0004711", b"4470021", b"DC-55102", b"NL-881204")


def renumbered(template: bytes, number: int) -> bytes:
    """Return the message as one of another patient and order, of the same laboratory and physician."""
    for name in _NUMBERS:
        assert name in template
        template = template.replace(name, b"B%010d" % number)
    return template


@contextlib.contextmanager
def serving(data_dir: Path | None, resources: int, workers: int) -> Iterator[Server]:
    """Give a server that holds so many resources: those of the folder where it was filled before, or new ones."""
    folder = data_dir or Path(tempfile.mkdtemp(prefix="concord-bench-"))
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    server = Server(folder, workers)
    try:
        if not filled(folder):
            fill(server, resources, os.cpu_count() or 2)
        yield server
    finally:
        server.stop()
        if data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)


def measure(server: Server, scale: float, only: str) -> list[Row]:
    """Return the rows of every case whose name contains `only`."""
    token = server.token()
    cases = Cases(f"/{TENANT}/fhir", filled(server.folder)["patients"]).all()
    rows = asyncio.run(http_rows(server, token, [case for case in cases if only in case.name], scale))
    return rows + asyncio.run(mllp_rows(server, token, scale, only))


def main(
    tables: Annotated[list[Path] | None, typer.Argument(help="Print these earlier figures side by side.")] = None,
    resources: Annotated[int, typer.Option(help="Resources to fill the server with.")] = 10_000,
    data_dir: Annotated[Path | None, typer.Option(help="Fill this folder, or use it as it was filled before.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON here.")] = None,
    scale: Annotated[float, typer.Option(help="Multiplies the number of calls of each case; 0 only fills.")] = 1.0,
    workers: Annotated[int, typer.Option(help="HTTP processes of the server.")] = 1,
    only: Annotated[str, typer.Option(help="Run the cases whose name contains this.")] = "",
) -> None:
    """Measure a server on this machine and print the table."""
    if tables:
        typer.echo(report.markdown([json.loads(file.read_text()) for file in tables]), nl=False)
        return
    with serving(data_dir, resources, workers) as server:
        facts = {
            "at": datetime.now(UTC).isoformat(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "resources": server.resources(),
            "bytes": server.size(),
        }
        rows = measure(server, scale, only) if scale else []
    Console(width=None if sys.stdout.isatty() else 150).print(report.shown(rows))
    if out:
        out.write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
