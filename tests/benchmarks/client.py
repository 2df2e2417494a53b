"""The cheapest HTTP and MLLP clients that are still honest: one connection each, the whole answer read and checked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

Request = tuple[str, str, bytes]


class Answer(NamedTuple):
    """Status and body of an HTTP answer."""

    status: int
    body: bytes


class Http:
    """A keep-alive connection to the server, with one bearer token."""

    def __init__(self, port: int, token: str) -> None:
        self._port, self._token = port, token
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, method: str, path: str, body: bytes = b"", headers: str = "") -> Answer:
        """Send one request and return its answer; each of `headers` ends its line."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 26)
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self._token}\r\n{headers}"
        if body:
            head += f"Content-Type: application/fhir+json\r\nContent-Length: {len(body)}\r\n"
        self._writer.write(head.encode() + b"\r\n" + body)
        assert self._reader is not None
        top = await self._reader.readuntil(b"\r\n\r\n")
        length = int(top.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        return Answer(int(top[9:12]), await self._reader.readexactly(length) if length else b"")

    def close(self) -> None:
        """Close the connection."""
        if self._writer:
            self._writer.close()


class Mllp:
    """One MLLP connection; `send` returns the acknowledgement."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, message: bytes) -> bytes:
        """Send one framed message and return the frame that answers it."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 24)
        reader, writer = self._streams
        writer.write(b"\x0b" + message + b"\x1c\r")
        return await reader.readuntil(b"\x1c\r")

    def close(self) -> None:
        """Close the connection."""
        if self._streams:
            self._streams[1].close()


async def drive(senders: list[Callable[[], Awaitable[None]]], count: int) -> tuple[float, list[float]]:
    """Call the senders, each one after another, until `count` calls are made; return wall seconds and each call's."""
    left: Iterator[int] = iter(range(count))
    took: list[float] = []

    async def one(send: Callable[[], Awaitable[None]]) -> None:
        for _ in left:
            begun = time.perf_counter()
            await send()
            took.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(one(send) for send in senders))
    return time.perf_counter() - begun, took
