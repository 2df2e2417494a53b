"""Waits for PostgreSQL to say that there is work: LISTEN, on a connection of its own.

https://www.postgresql.org/docs/18/sql-listen.html
"""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg

from fhir_server.store.tickets import CHANNEL


class Bell:
    """Rung by whoever commits work. Not hearing it is no fault: who waits looks from time to time all the same."""

    def __init__(self, dsn: str, channel: str = CHANNEL) -> None:
        self._dsn = dsn
        self._channel = channel
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def wait(self, seconds: float) -> bool:
        """Return when it rings, or after `seconds`; False where the database was away, which is also waited out.

        Returns at once after it began to listen, for what was committed before that was not heard.
        """
        try:
            if self._connection is None:
                await self._listen()
            else:
                await self._heard(self._connection, seconds)
        except psycopg.OperationalError:
            await self.close()
            await asyncio.sleep(seconds)
            return False
        return True

    async def close(self) -> None:
        """Listen no more; a later wait begins again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
        try:
            await connection.execute(f"listen {self._channel}".encode())
        except BaseException:
            await connection.close()
            raise
        self._connection = connection

    async def _heard(self, connection: psycopg.AsyncConnection[Any], seconds: float) -> None:
        async for _ in connection.notifies(timeout=seconds, stop_after=1):
            pass
        # Those that came together ring once.
        async for _ in connection.notifies(timeout=0):
            pass
