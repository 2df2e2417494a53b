"""Receivers of others, on real sockets: they answer as they are told, and keep what came."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from adapters.contract import Peer
from adapters.frames import Frame, Framer, wrap
from mappings.ack import AckError, ack
from mappings.header import header

Answer = Callable[[bytes], bytes | None]


def saying(code: Any, *errors: str) -> Answer:
    """Answer every message with this code, and ERR segments with these codes of table 0357."""

    def answer(message: bytes) -> bytes:
        problems = [AckError("PID-3", error, "told by the receiver") for error in errors]
        return ack(header(message), code, "R1", datetime(2026, 3, 1, tzinfo=UTC), problems)

    return answer


class Receiver:
    """An MLLP receiver: `answer` may be changed while it listens; None answers nothing, no bytes hang up."""

    def __init__(self) -> None:
        self.answer: Answer = saying("AA")
        self.came: list[bytes] = []
        self.peers: set[Peer] = set()
        self.port = 0
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def ids(self) -> list[str]:
        """Return MSH-10 of what came, in its order."""
        return [header(message).control_id for message in self.came]

    def hang_up(self) -> None:
        """End every connection."""
        for writer in self._open:
            writer.transport.abort()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.peers.add(Peer(*writer.get_extra_info("peername")[:2]))
        self._open.add(writer)
        try:
            await self._serve(reader, writer)
        except OSError:
            pass  # the sender went away
        finally:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        framer = Framer(1 << 24)
        while chunk := await reader.read(65536):
            for event in framer.receive(chunk):
                assert isinstance(event, Frame)
                self.came.append(event.content)
                answer = self.answer(event.content)
                if answer == b"":
                    return
                if answer is not None:
                    writer.write(wrap(answer))
                    await writer.drain()


@contextlib.asynccontextmanager
async def receiving(port: int = 0, **more: Any) -> AsyncIterator[Receiver]:
    """Give a receiver that listens on a free port, or on this one."""
    one = Receiver()
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.get_running_loop().create_task(one.connected(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", port, **more)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
