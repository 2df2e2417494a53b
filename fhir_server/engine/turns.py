"""Many work beside each other, or one works alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager


class Turns:
    """Lets up to `most` in at one time by `shared`, and one by `alone` when all others are out."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._places = asyncio.Semaphore(most)
        # Two that want to be alone must not each hold half of the places.
        self._one = asyncio.Lock()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Be one of many."""
        async with self._places:
            yield

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Wait until all others are out, and keep them out."""
        async with AsyncExitStack() as held:
            async with self._one:
                for _ in range(self._most):
                    await held.enter_async_context(self._places)
            yield
