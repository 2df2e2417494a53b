"""Searches that took long, with their plans: told now and then, and without a value that anybody searched for.

https://www.postgresql.org/docs/18/sql-explain.html
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import psycopg
import structlog

from fhir_server.errors import FhirError

log = structlog.get_logger(__name__)
_MINUTE = 60.0


class Noted(msgspec.Struct, frozen=True):
    """The slowest search of a request."""

    tenant_id: int | None
    sql: str
    params: Sequence[Any]
    seconds: float


Explain = Callable[[Noted], Awaitable[list[tuple[Any, ...]]]]


class Slow:
    """Keeps the slowest search of each task that had one over `threshold` seconds; `tell` logs `most` in a minute."""

    def __init__(self, threshold: float, most: int) -> None:
        self.threshold = threshold
        self._most = most
        self._noted: WeakKeyDictionary[asyncio.Task[Any], Noted] = WeakKeyDictionary()
        self._told: list[float] = []
        self._left_out = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, noted: Noted) -> None:
        """Keep a slow search of the running task, where it is the slowest."""
        task = asyncio.current_task()
        before = self._noted.get(task) if task else None
        if task and (before is None or before.seconds < noted.seconds):
            self._noted[task] = noted

    @property
    def noted(self) -> bool:
        """Tell whether any task had a slow search that was not taken yet."""
        return bool(self._noted)

    def take(self) -> Noted | None:
        """Return what was noted of the running task, once."""
        task = asyncio.current_task()
        return self._noted.pop(task, None) if task else None

    def tell(self, noted: Noted, explain: Explain, **fields: Any) -> None:
        """Log a slow search with its plan, beside what the caller is about; left out where there are too many."""
        now = time.monotonic()
        self._told = [moment for moment in self._told if now - moment < _MINUTE]
        if len(self._told) >= self._most:
            self._left_out += 1
            return
        self._told.append(now)
        task = asyncio.get_running_loop().create_task(self._tell(noted, explain, fields))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Let what is being told be told."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tell(self, noted: Noted, explain: Explain, fields: dict[str, Any]) -> None:
        try:
            ((plan,),) = await explain(noted)
            told = shape(plan if isinstance(plan, list) else msgspec.json.decode(plan))
        except (FhirError, psycopg.Error) as problem:
            told = f"no plan: {type(problem).__name__}"
        left_out, self._left_out = self._left_out, 0
        log.warning("slow search", duration_ms=round(noted.seconds * 1000), plan=told, left_out=left_out, **fields)


def shape(explained: Sequence[Any]) -> str:
    """Return the steps of a plan in JSON, each with what it reads and what was expected of it; conditions hold values.

    Behind each step stand, in brackets, those that feed it.
    """
    return _step(explained[0]["Plan"])


def _step(node: dict[str, Any]) -> str:
    fed = ", ".join(_step(child) for child in node.get("Plans", ()))
    return " ".join(_words(node)) + (f" [{fed}]" if fed else "")


def _words(node: dict[str, Any]) -> Iterator[str]:
    yield node["Node Type"]
    if "Index Name" in node:
        yield node["Index Name"]
    if "Relation Name" in node:
        yield f"on {node['Relation Name']}"
    yield f"rows={node['Plan Rows']} cost={node['Total Cost']:.0f}"
