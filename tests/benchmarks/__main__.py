"""Start a server on an empty directory, drive it, and print what each operation costs.

CPU milliseconds per operation, of the server and of PostgreSQL, are the figure to steer by: wall time depends on what
else the machine does.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from fhir_server.store.embedded import connection_of
from tests.benchmarks import cpu
from tests.benchmarks.cases import HERE, Data
from tests.benchmarks.client import Http, Mllp, drive

Row = dict[str, Any]
SYNTHEA = HERE.parents[2] / "shared" / "data" / "synthea"


class Server:
    """`concord serve` as its own process, on ports that it chooses."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        concord = shutil.which("concord", path=os.path.dirname(sys.executable)) or "concord"
        self.concord = concord
        argv = [concord, "serve", "--data-dir", str(folder), "--port", "0", "--mllp-port", "0", "--demo"]
        argv += ["--mllp-tenant", "demo", "--workers", str(workers)]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout
        self.ready = next(json.loads(line) for line in self.process.stdout if line.startswith("{"))

    def token(self) -> str:
        """Return a token for everything in tenant demo."""
        argv = [self.concord, "token", "--tenant", "demo", "--scopes", "system/*.cruds", "--expires", "86400"]
        argv += ["--data-dir", str(self.folder)]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def refresh_statistics(self) -> None:
        """Do what autovacuum does within a minute, so that a short run is planned like a long one."""
        running = connection_of(self.folder)
        assert running
        with psycopg.connect(running.server_dsn(), autocommit=True) as connection:
            connection.execute("select refresh_statistics()")

    def stop(self) -> None:
        """Stop it as Ctrl-C does."""
        self.process.send_signal(2)
        self.process.wait(60)


async def measured(
    server: Server,
    name: str,
    concurrency: int,
    count: int,
    senders: list[Callable[[], Awaitable[None]]],
    settle: Callable[[], Awaitable[None]] | None = None,
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
    return {
        "case": name,
        "concurrency": concurrency,
        "count": count,
        "server_ms": round(used.server * 1000 / count, 3),
        "postgres_ms": round(used.postgres * 1000 / count, 3),
        "cpu_ms": round((used.server + used.postgres) * 1000 / count, 3),
        "per_second": round(count / wall, 1),
        "p50_ms": round(cuts[9] * 1000, 2),
        "p95_ms": round(cuts[18] * 1000, 2),
    }


async def http_rows(server: Server, token: str, patients: int, scale: float, only: str) -> list[Row]:
    """Measure the REST cases at concurrency 1 and 16."""
    port = server.ready["http_port"]
    data = Data("/demo/fhir", SYNTHEA if SYNTHEA.is_dir() else None)
    filler = Http(port, token)
    await data.fill(filler, patients)
    rows = []
    for name, call in data.cases().items():
        if only not in name:
            continue
        for concurrency in (1, 16):
            clients = [Http(port, token) for _ in range(concurrency)]
            count = max(20, int((60 if "50" in name else 2000) * scale))
            senders = [partial(call, client) for client in clients]
            rows.append(await measured(server, name, concurrency, count, senders))
            for client in clients:
                client.close()
    return rows


async def mllp_rows(server: Server, token: str, scale: float, only: str) -> list[Row]:
    """Measure accepting messages, and accepting and mapping them to the last one."""
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

    for name, end in (("MLLP accept (map goes on beside)", None), ("MLLP accept to mapped", settled)):
        for concurrency in (1, 16):
            if only in name:
                clients = [Mllp(server.ready["mllp_port"]) for _ in range(concurrency)]
                senders = [sender(client) for client in clients]
                rows.append(await measured(server, name, concurrency, max(20, int(500 * scale)), senders, end))
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


def shown(rows: list[Row]) -> Table:
    """Return the rows as a table for people."""
    table = Table(title="CPU ms per operation, by the operating system's accounting")
    for column in ("case", "concurrency", "server_ms", "postgres_ms", "cpu_ms", "per_second", "p50_ms", "p95_ms"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for row in rows:
        table.add_row(*(str(row[c.header]) for c in table.columns))
    return table


def main(
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON here.")] = None,
    patients: Annotated[int, typer.Option(help="Patients (with 8 results each) to fill the server with.")] = 1000,
    scale: Annotated[float, typer.Option(help="Multiplies the number of calls of each case.")] = 1.0,
    workers: Annotated[int, typer.Option(help="HTTP processes of the server.")] = 1,
    only: Annotated[str, typer.Option(help="Run the cases whose name contains this.")] = "",
) -> None:
    """Measure a server on this machine and print the table."""
    folder = Path(tempfile.mkdtemp(prefix="concord-bench-"))
    folder.chmod(0o755)
    server = Server(folder, workers)
    try:
        token = server.token()
        rows = asyncio.run(http_rows(server, token, patients, scale, only))
        rows += asyncio.run(mllp_rows(server, token, scale, only))
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    Console().print(shown(rows))
    if out:
        facts = {"at": datetime.now(UTC).isoformat(), "cores": os.cpu_count(), "python": platform.python_version()}
        out.write_text(json.dumps(facts | {"patients": patients, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
