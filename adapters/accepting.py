"""Accepting connections one by one, so that they are counted before they may cost anything; TLS comes after that.

https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.connect_accepted_socket
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)
_PASSING = frozenset((errno.ECONNABORTED, errno.EINTR, errno.EPROTO))
_BREATH = 0.5  # after an accept that failed for want of descriptors or memory
_TOGETHER = 64  # before others have their turn
_CLOSING = 5.0  # for the end of TLS to be said by both sides
_TOLD_EVERY = 60.0


class Seats:
    """How many connections may be open: together, and of one address."""

    def __init__(self, total: int, each: int) -> None:
        self._total, self._each = total, each
        self._taken: Counter[str] = Counter()
        self.open = 0

    def take(self, host: str) -> bool:
        """Take a seat and return whether there was one."""
        if self.open >= self._total or self._taken[host] >= self._each:
            return False
        self.open += 1
        self._taken[host] += 1
        return True

    def leave(self, host: str) -> None:
        """Give a seat back."""
        self.open -= 1
        self._taken[host] -= 1
        if not self._taken[host]:
            del self._taken[host]


class Told:
    """Logs what strangers can cause: the first at once, then one line a minute with how many there were."""

    def __init__(self) -> None:
        self._last = float("-inf")
        self._silent = 0

    def tell(self, text: str) -> None:
        """Log a line, or count it."""
        now = asyncio.get_running_loop().time()
        if now - self._last < _TOLD_EVERY:
            self._silent += 1
            return
        more = f" ({self._silent} more like it were not told)" if self._silent else ""
        log.warning("%s%s", text, more)
        self._last, self._silent = now, 0


def bound(host: str, port: int) -> socket.socket:
    """Return a listening socket; raise OSError that names the address where it cannot be had."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(1024)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{host}:{port}: {(error.strerror or str(error)).lower()}") from error
    return sock


class Acceptor:
    """Hands each connection of a listening socket, and its address, to `admit`, until it is closed."""

    def __init__(self, sock: socket.socket, admit: Callable[[socket.socket, str], None]) -> None:
        self._sock, self._admit = sock, admit
        self._loop = asyncio.get_running_loop()
        self._breath: asyncio.TimerHandle | None = None
        self._begin()

    def close(self) -> None:
        """Accept no more, and close the socket."""
        if self._breath is not None:
            self._breath.cancel()
        if self._sock.fileno() != -1:
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _begin(self) -> None:
        self._breath = None
        self._loop.add_reader(self._sock, self._ready)

    def _ready(self) -> None:
        # Accepted and handed over in one step: nothing can be lost between, whenever it is closed.
        for _ in range(_TOGETHER):
            try:
                accepted, address = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _PASSING:
                    log.error("no connection could be accepted: %s", error)
                    self._loop.remove_reader(self._sock)
                    self._breath = self._loop.call_later(_BREATH, self._begin)
                return
            self._admit(accepted, str(address[0]) if isinstance(address, tuple) else "local")


async def opened(
    sock: socket.socket, context: ssl.SSLContext | None, patience: float, limit: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return the streams of an accepted connection, with a context after its handshake. Raises OSError."""
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    reader = asyncio.StreamReader(limit, loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    more: dict[str, Any] = {}
    if context:
        more = {"ssl": context, "ssl_handshake_timeout": patience, "ssl_shutdown_timeout": _CLOSING}
    async with asyncio.timeout(patience + _BREATH if context else None):
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, **more)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def reason(error: OSError) -> str:
    """Return why a handshake failed, in words without what the peer may have written."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return error.reason or "no TLS"
    return "it took too long" if isinstance(error, (TimeoutError, ConnectionAbortedError)) else "it broke off"
