"""An MLLP sender with bad habits of framing, for trying receivers: pieces, junk, frames without their last byte.

https://www.hl7.org/documentcenter/public/wg/inm/mllp_transport_specification.PDF
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from adapters.frames import Frame, Framer, TooLarge, wrap
from adapters.mllp import CHUNK, NoAnswer

_LARGEST_ANSWER = 1 << 20


@dataclass(frozen=True, slots=True)
class Manners:
    """How frames are written: in `pieces` of so many bytes (0: whole), without CR behind FS, with junk before VT."""

    pieces: int = 0
    no_cr: bool = False
    junk: bool = False


class Careless:
    """One connection, opened when needed and kept; one message at a time, each with its answer."""

    def __init__(
        self,
        host: str,
        port: int,
        manners: Manners = Manners(),
        *,
        tls: ssl.SSLContext | None = None,
        patience: float = 30.0,
    ) -> None:
        """`patience` is how long (s) a connection and an answer may take."""
        self._address = (host, port)
        self._manners = manners
        self._tls = tls
        self._patience = patience
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, message: bytes) -> bytes:
        """Send a message and return the content of its answer.

        Raises NoAnswer when none comes, OSError or TimeoutError when the receiver cannot be reached.
        """
        reader, writer = await self._open()
        try:
            async with asyncio.timeout(self._patience):
                for piece in pieces(message, self._manners):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                return await _answer(reader)
        except TimeoutError as problem:
            self._lost()
            raise NoAnswer(f"no answer within {self._patience:g} s") from problem
        except OSError as problem:
            self._lost()
            raise NoAnswer(f"connection lost: {problem}") from problem
        except BaseException:
            self._lost()
            raise

    async def close(self) -> None:
        """Close the connection; a later send opens another."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream[1].close()
            try:
                await stream[1].wait_closed()
            except OSError:
                self._lost()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._stream is not None and self._stream[0].at_eof():
            self._lost()
        if self._stream is None:
            async with asyncio.timeout(self._patience):
                name = self._address[0] if self._tls else None
                self._stream = await asyncio.open_connection(
                    *self._address, ssl=self._tls, server_hostname=name, limit=CHUNK
                )
        return self._stream

    def _lost(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream[1].transport.abort()


def pieces(message: bytes, manners: Manners) -> Iterator[bytes]:
    """Give a framed message in the pieces in which it is written. Raises ValueError as `wrap` does."""
    framed = (b"\r\n  " if manners.junk else b"") + wrap(message)
    framed = framed.removesuffix(b"\r") if manners.no_cr else framed
    size = manners.pieces or len(framed)
    return (framed[place : place + size] for place in range(0, len(framed), size))


async def _answer(reader: asyncio.StreamReader) -> bytes:
    framer = Framer(_LARGEST_ANSWER)
    while chunk := await reader.read(CHUNK):
        for event in framer.receive(chunk):
            if isinstance(event, TooLarge):
                raise NoAnswer(f"the answer is longer than {event.limit} bytes")
            if isinstance(event, Frame):
                return event.content
    raise NoAnswer("connection closed before the answer")
