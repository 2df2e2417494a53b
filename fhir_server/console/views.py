"""What the operator page shows, as values: counts and ages, nothing of a patient."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

import msgspec

STATES = ("received", "done", "buried", "rejected", "quarantined")
Counts = Callable[[], Awaitable[Mapping[str, Mapping[str, int]]]]


class TenantRow(msgspec.Struct, frozen=True):
    """One line of the page: messages by state, and the width in percent of each state's part of the bar."""

    name: str
    counts: Mapping[str, int]
    shares: Mapping[str, float]
    total: int


class Overview(msgspec.Struct, frozen=True):
    """The page: `waiting` messages, the `oldest` of them in seconds, and a row for each tenant."""

    at: datetime
    version: str
    waiting: int
    oldest: float | None
    tenants: list[TenantRow]


def overview(
    at: datetime, version: str, queue: tuple[int, datetime | None], counts: Mapping[str, Mapping[str, int]]
) -> Overview:
    """Return the page's values from the queue (count, oldest) and the message counts by tenant and state."""
    waiting, since = queue
    rows = [_row(name, counts[name]) for name in sorted(counts)]
    return Overview(at, version, waiting, (at - since).total_seconds() if since else None, rows)


def _row(name: str, given: Mapping[str, int]) -> TenantRow:
    counts = {state: given.get(state, 0) for state in STATES}
    total = sum(counts.values())
    shares = {state: 100 * count / total if total else 0.0 for state, count in counts.items()}
    return TenantRow(name, counts, shares, total)
