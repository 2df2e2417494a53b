"""Counts what a process does for each channel, and adds it to what all processes did.

Counting touches memory alone. Every few seconds it is added to PostgreSQL, where `/metrics`, the page and the watch
read it: a monitor asks one place, however many processes and machines work.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Iterable
from datetime import datetime
from typing import Protocol
from uuid import uuid4

import structlog

from conformance.issue import Issue
from fhir_server.clock import Clock
from fhir_server.errors import Busy
from fhir_server.store import figures as stored
from fhir_server.store.database import Database
from fhir_server.store.figures import BOUNDS, EVER, Counted, slot

log = structlog.get_logger(__name__)
# Codes of issues that are told apart (https://hl7.org/fhir/R4/valueset-issue-type.html); the rest are `other`.
CLASSES = frozenset(
    ("structure", "required", "value", "invariant", "not-supported", "invalid", "code-invalid", "not-found",
     "business-rule", "conflict", "multiple-matches", "duplicate", "processing", "transient", "lock-error", "timeout",
     "throttled", "exception", "too-long", "too-costly", "security", "forbidden", "incomplete")
)  # fmt: skip
Key = tuple[int, str, datetime, str]


class Listening(Protocol):
    """What has connections open; an MLLP listener is one."""

    @property
    def refused(self) -> int:
        """How many were turned away."""

    @property
    def connections(self) -> int:
        """How many are open."""


class Figures:
    """The counts of one process since they were last added. `listeners` are what it listens with."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self.listeners: list[Listening] = []
        self._db = db
        self._clock = clock
        self._process = uuid4()
        self._counts: dict[Key, tuple[int, datetime]] = {}

    def count(self, tenant_id: int, channel: str, what: str, number: int = 1) -> None:
        """Count that something happened in a channel now."""
        now = self._clock()
        for begins in (slot(now), EVER):
            self._add((tenant_id, channel, begins, what), number, now)

    def failed(self, tenant_id: int, channel: str, what: str, issues: Iterable[Issue]) -> None:
        """Count what went wrong in a channel, and of which classes that was."""
        self.count(tenant_id, channel, what)
        for class_ in {issue.code if issue.code in CLASSES else "other" for issue in issues}:
            self.count(tenant_id, channel, f"error:{class_}")

    def answered(self, tenant_id: int, channel: str, seconds: float) -> None:
        """Count an acknowledgement by the time that it took."""
        now = self._clock()
        self._add((tenant_id, channel, EVER, f"ack:{BOUNDS[bisect_left(BOUNDS, seconds)]:g}"), 1, now)
        self._add((tenant_id, channel, EVER, "ack:us"), round(seconds * 1e6), now)

    async def flush(self) -> None:
        """Add what was counted to what is stored; where the database is away, it is kept for the next time."""
        counts, self._counts = self._counts, {}
        for tenant_id in sorted({key[0] for key in counts}):
            mine = {key: found for key, found in counts.items() if key[0] == tenant_id}
            try:
                await stored.add(self._db, tenant_id, [Counted(*key[1:], *found) for key, found in mine.items()])
            except Exception:
                for key, (number, last) in mine.items():
                    self._add(key, number, last)
                raise
        if self.listeners:
            opened, refused = (sum(getattr(one, name) for one in self.listeners) for name in ("connections", "refused"))
            await stored.heard(self._db, self._process, self._clock(), opened, refused)

    async def keep(self, every: float) -> None:
        """Add what was counted every so many seconds, until cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(every)
                await self.quietly()
        finally:
            await self.quietly()

    async def quietly(self) -> None:
        """Add what was counted; a failure is told to the log alone."""
        try:
            await self.flush()
        except Busy:
            log.warning("counts of channels not added; the next time does it", database="busy")
        except Exception:
            log.exception("counts of channels could not be added")

    def _add(self, key: Key, number: int, now: datetime) -> None:
        before, last = self._counts.get(key, (0, now))
        self._counts[key] = before + number, max(last, now)
