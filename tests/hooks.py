"""A receiver of webhooks for tests, on a free loopback port: what it got is kept, and it can be told to refuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec


class Got(msgspec.Struct):
    """One request."""

    line: str
    headers: dict[str, str]
    body: bytes


class Hooks:
    """What came in; `status` is what each gets, `place` where one is sent on to."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.status = 204
        self.place = ""
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.got.append(Got(head[0], headers, body))
            more = f"location: {self.place}\r\n" if self.place else ""
            writer.write(f"HTTP/1.1 {self.status} told\r\ncontent-length: 0\r\n{more}\r\n".encode())
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def hooked() -> AsyncIterator[Hooks]:
    """Give a running receiver."""
    hooks = Hooks()
    server = await asyncio.start_server(hooks.serve, "127.0.0.1", 0)
    hooks.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/alerts"
    try:
        yield hooks
    finally:
        server.close()
        await server.wait_closed()
