"""Requests as bytes on a socket: what a client library would tidy or refuse to send."""

from __future__ import annotations

import asyncio

from tests.fhir import Client


async def raw(fhir: Client, request: bytes) -> bytes:
    """Return all that comes back until the server closes, or sends nothing more for a good while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", fhir.concord.settings.port)
    writer.write(request)
    await writer.drain()
    try:
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.close()


async def asked(fhir: Client, method: str, place: str, headers: dict[str, str]) -> tuple[int, str]:
    """Return status and all of the answer to a request whose address is sent as it is."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"host": "localhost", **headers}.items())
    answer = await raw(fhir, f"{method} {place} HTTP/1.1\r\n{lines}connection: close\r\n\r\n".encode("latin-1"))
    text = answer.decode("utf-8", "replace")
    return int(text.split(" ", 2)[1]), text
