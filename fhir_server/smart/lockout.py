"""How long somebody must wait who failed to sign in: a few tries are free, then each failure doubles the wait.

https://pages.nist.gov/800-63-4/sp800-63b.html#throttle
"""

from __future__ import annotations

from datetime import timedelta

import msgspec


class Lockout(msgspec.Struct, frozen=True):
    """`free` failures cost nothing, the next `first`, twice `first`, … to `longest`; forgotten after `memory`."""

    free: int
    first: timedelta
    longest: timedelta
    memory: timedelta

    def wait(self, failures: int) -> timedelta:
        """Return the wait after so many failures in a row."""
        if failures < self.free:
            return timedelta()
        doubled: int = 2 ** min(failures - self.free, 30)
        return min(self.first * doubled, self.longest)
