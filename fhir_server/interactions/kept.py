"""What was worked out lately and may be wanted again. Whoever asks makes sure that it still holds."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any


class Kept:
    """What was worked out lately, up to a number of codes; used on one event loop.

    A key begins with the tenant, so that none meets another's.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._weight = 0
        self._found: OrderedDict[tuple[Any, ...], tuple[Any, int]] = OrderedDict()

    def get(self, key: tuple[Any, ...]) -> Any:
        """Return what is kept under a key, or None."""
        if key in self._found:
            self._found.move_to_end(key)
            return self._found[key][0]
        return None

    def put(self, key: tuple[Any, ...], value: Any, weight: int) -> None:
        """Keep a value; the oldest go where there is no room."""
        self._weight += weight - self._found.pop(key, (None, 0))[1]
        self._found[key] = (value, weight)
        while self._weight > self._most and self._found:
            self._weight -= self._found.popitem(last=False)[1][1]
