"""How often one may come: each key has a moment up to which its time is spent, a little ahead of now at most.

The generic cell rate algorithm: one number for each key, nothing to sweep but what has passed.
https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
"""

from __future__ import annotations

from collections.abc import Hashable

# Keys that one process remembers; a flood of addresses pushes out the oldest.
_MOST = 50_000


class Rate:
    """`per_second` requests on average, `burst` seconds' worth of them at once; 0 allows everything."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._each = 1 / per_second if per_second else 0.0
        self._ahead = max(burst, self._each)
        self._spent: dict[Hashable, float] = {}

    def take(self, key: Hashable, now: float) -> float:
        """Count a request and return 0, or count it not and return after how many seconds one is welcome."""
        if not self._each:
            return 0.0
        spent = self._spent.get(key, now)
        if spent < now:
            spent = now
        if spent + self._each - now > self._ahead:
            return spent + self._each - now - self._ahead
        self._spent[key] = spent + self._each
        if len(self._spent) > _MOST:
            self._forget(now)
        return 0.0

    def wait(self, key: Hashable, now: float) -> float:
        """Return after how many seconds the next one is welcome, and count nothing."""
        spent = self._spent.get(key)
        return 0.0 if spent is None else max(0.0, spent + self._each - now - self._ahead)

    def _forget(self, now: float) -> None:
        left = {key: spent for key, spent in self._spent.items() if spent > now}
        excess = len(left) - _MOST * 9 // 10
        for key in list(left)[: max(excess, 0)]:
            del left[key]
        self._spent = left
