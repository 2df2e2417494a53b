"""Fill a server: whole transactions through the server's own loading code, in several processes at once.

Six in ten resources are Synthea's, with renewed identities; the rest invented patients with their results. Without
Synthea's data all are invented. The mixture is the same at every size.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fhir_server.app import Concord, opened
from fhir_server.context import Context, Grant, Scope, Tenant
from fhir_server.interactions import bulk
from fhir_server.settings import Settings
from fhir_server.store import tenants
from tests.benchmarks import made
from tests.benchmarks.server import Server

MARK = "filled.json"
TENANT = "demo"
_SHARE = 0.6  # of Synthea's resources
_TOGETHER = 25  # invented patients in a transaction


class Part(NamedTuple):
    """A transaction to be: a copy of a Synthea patient, or a range of invented ones; and its resources."""

    kind: str
    first: int
    last: int
    size: int

    def body(self) -> bytes:
        """Return the transaction."""
        if self.kind == "synthea":
            return made.transaction(made.synthea(self.first))
        return made.invented(range(self.first, self.last))


def parts(resources: int) -> Iterator[Part]:
    """Yield what makes so many resources, the two kinds in turn, so that a prefix is a smaller filling."""
    synthea = patients = copy = done = 0
    while done < resources:
        entries = len(made.synthea(copy)) if synthea <= done * _SHARE else 0
        if entries:
            part = Part("synthea", copy, copy + 1, entries)
            copy, synthea = copy + 1, synthea + entries
        else:
            part = Part("invented", patients, patients + _TOGETHER, _TOGETHER * (1 + made.RESULTS))
            patients += _TOGETHER
        done += part.size
        yield part


def filled(folder: Path) -> dict[str, Any]:
    """Return what a finished filling of this folder has noted; empty where there was none."""
    mark = folder / MARK
    return dict(json.loads(mark.read_text())) if mark.exists() else {}


def fill(server: Server, resources: int, processes: int) -> dict[str, Any]:
    """Load so many resources, vacuum and analyze, and note it in the folder; return the note."""
    todo = list(parts(resources))
    context = multiprocessing.get_context("spawn")
    done = context.SimpleQueue()
    address = server.ready["base_url"]
    jobs = [
        context.Process(target=_work, args=(server.dsn(), address, server.folder, todo[n::processes], done))
        for n in range(processes)
    ]
    for job in jobs:
        job.start()
    _watch(jobs, done, sum(part.size for part in todo))
    server.vacuum()
    invented = [part for part in todo if part.kind == "invented"]
    note = {"resources": sum(part.size for part in todo), "patients": invented[-1].last}
    (server.folder / MARK).write_text(json.dumps(note))
    return note


def _watch(jobs: list[Any], done: Any, whole: int) -> None:
    columns = (TextColumn("Loading"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    left = len(jobs)
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=whole)
        while left:
            message = done.get()
            if isinstance(message, str):
                raise RuntimeError(f"the filling failed: {message}")
            left -= message < 0
            progress.advance(bar, max(message, 0))
    for job in jobs:
        job.join()


def _work(dsn: str, address: str, folder: Path, todo: list[Part], done: Any) -> None:
    """Load some of the parts; runs in a process of its own."""
    try:
        asyncio.run(_load(dsn, address, folder, todo, done))
        done.put(-1)
    except Exception as problem:
        done.put(f"{type(problem).__name__}: {problem}")


async def _load(dsn: str, address: str, folder: Path, todo: list[Part], done: Any) -> None:
    async with opened(Settings.load(env="test", base_url=address, data_dir=folder), dsn) as concord:
        tenant = await tenants.by_name(concord.db, TENANT)
        assert tenant is not None
        # Two at a time: while one waits for its commit, the other is made.
        waiting = iter(todo)
        await asyncio.gather(*(_lane(concord, tenant, waiting, done) for _ in range(2)))


async def _lane(concord: Concord, tenant: Tenant, waiting: Iterator[Part], done: Any) -> None:
    grant = Grant(tenant, "benchmark", "benchmark", (Scope("system", "*", "cruds"),))
    for part in waiting:
        now = concord.clock()
        ctx = Context(grant, concord.base(tenant), now.replace(microsecond=now.microsecond // 1000 * 1000), "fill")
        for unit in bulk.units_of_bundle(concord.service, part.body()):
            loaded = await bulk.load(concord.service, ctx, uuid.uuid4().bytes, unit)
            if loaded.refused:
                raise RuntimeError("; ".join(loaded.refused))
            done.put(loaded.written)
