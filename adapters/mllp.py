"""MLLP over TCP or TLS: a listener that answers each connection's messages in order, a sender that awaits its answer.

https://www.hl7.org/documentcenter/public/wg/inm/mllp_transport_specification.PDF
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adapters import accepting, certificates
from adapters.accepting import Acceptor, Seats
from adapters.contract import FaultHandler, Handler, Intake, IntakeHandler, Peer
from adapters.frames import Event, Frame, Framer, Junk, Last, Part, State, TooLarge, wrap
from adapters.keepalive import keepalive

log = logging.getLogger(__name__)
CHUNK = 65536
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one listener allows; times in seconds, sizes in bytes."""

    connections: int = 1024
    each: int = 1024  # connections of one address
    handshake: float = 10.0  # of TLS, from the first byte to its end
    frame: int = 64 * 1024 * 1024
    whole: int = 128 * 1024  # a larger frame is taken in pieces, where the listener has an intake
    idle: float = 3600.0  # between the end of one frame and the VT of the next
    read: float = 120.0  # from the VT of a frame to its FS
    write: float = 30.0  # for an answer to leave
    grace: float = 10.0  # for answers under way when the listener stops


class Listener:
    """Takes connections until it is stopped. Make one with `start`."""

    def __init__(self, sock: socket.socket, handler: Handler, limits: Limits, faults: FaultHandler | None) -> None:
        self.limits = limits
        self.refused = 0
        self.failed = 0
        self._socket = sock
        self._handler = handler
        self._faults = faults
        self._intake: IntakeHandler | None = None
        self._seats: Seats
        self._tls: Callable[[], ssl.SSLContext] | None = None
        self._door: int | None = None
        self._told = accepting.Told()
        self._acceptor: Acceptor
        self._coming: dict[asyncio.Task[None], socket.socket] = {}
        self._connections: dict[asyncio.Task[None], _Connection | None] = {}

    @classmethod
    async def start(
        cls,
        handler: Handler,
        *,
        sock: socket.socket | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        faults: FaultHandler | None = None,
        intake: IntakeHandler | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        seats: Seats | None = None,
        door: int | None = None,
    ) -> Listener:
        """Listen on `sock`, or on host and port (0: any free one). Raises OSError when that cannot be had.

        With `intake`, frames of more than `limits.whole` bytes go there in pieces; without, they are held like others.
        `tls` gives the context of each next connection; `seats` are counted together with other listeners'; `door` is
        what peers are said to have come to (contract.Peer).
        """
        sock = sock or accepting.bound(host, port)
        sock.setblocking(False)
        self = cls(sock, handler, limits or Limits(), faults)
        self._intake = intake
        self._seats = seats or Seats(self.limits.connections, self.limits.each)
        self._tls, self._door = tls, door
        self._acceptor = Acceptor(sock, self._admit)
        return self

    @property
    def port(self) -> int:
        """The port that was given or chosen."""
        return int(self._socket.getsockname()[1])

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    async def stop(self) -> None:
        """Take no more connections or messages, let answers under way go out for `limits.grace`, then close all."""
        self._acceptor.close()
        for task, connection in self._connections.items():
            if connection is None:
                task.cancel()  # still in its handshake
            else:
                connection.finish()
        if self._connections:
            await asyncio.wait(self._connections, timeout=self.limits.grace)
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _admit(self, sock: socket.socket, host: str) -> None:
        """Begin to serve a connection that was accepted, or close it where there are too many."""
        if not self._seats.take(host):
            self.refused += 1
            self._told.tell(f"MLLP connection of {host} refused: too many are open")
            sock.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(sock, host))
        self._connections[task], self._coming[task] = None, sock
        task.add_done_callback(lambda done: self._left(done, host))

    def _left(self, task: asyncio.Task[None], host: str) -> None:
        self._connections.pop(task)
        self._seats.leave(host)
        if sock := self._coming.pop(task, None):
            sock.close()  # cancelled before it began

    async def _serve(self, sock: socket.socket, host: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        context = self._tls() if self._tls else None
        del self._coming[task]  # from here on the socket is its transport's
        try:
            reader, writer = await accepting.opened(sock, context, self.limits.handshake, CHUNK)
        except OSError as error:
            if self._tls:
                self.failed += 1
                self._told.tell(f"TLS handshake of {host} failed: {accepting.reason(error)}")
            return
        connection = _Connection(reader, writer, self.limits, self._handler, self._faults, self._intake, self._door)
        connection.task = task
        self._connections[task] = connection
        await connection.run()


class _Connection:
    """One sender: reads, has each message handled, answers, in order."""

    task: asyncio.Task[None]

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limits: Limits,
        handler: Handler,
        faults: FaultHandler | None,
        intake: IntakeHandler | None,
        door: int | None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._handler = handler
        self._faults = faults
        self._intake = intake
        self._large: Intake | None = None  # of the frame that comes in parts
        self._framer = Framer(limits.frame, whole=limits.whole if intake else None)
        self._peer = _peer(writer, door)
        self._reading = False
        self._finishing = asyncio.Event()

    def finish(self) -> None:
        """Close as soon as no answer is under way."""
        self._finishing.set()
        if self._reading:
            self.task.cancel()

    async def run(self) -> None:
        """Serve until the sender, a deadline or the listener ends it. Raises nothing: an error ends this sender."""
        try:
            await self._serve()
            await self._unfinished()
        except OSError as error:
            log.info("MLLP connection of %s lost: %s", self._peer, error)
        except asyncio.CancelledError:
            log.debug("MLLP connection of %s closed: stopping", self._peer)
        except Exception as error:
            # Its type alone: its text may quote a patient's message.
            log.error("MLLP connection of %s closed: handling failed with %s", self._peer, type(error).__name__)
        finally:
            if self._large is not None:
                self._large.drop()
            self._writer.close()

    async def _serve(self) -> None:
        keepalive(self._writer)
        self._writer.transport.set_write_buffer_limits(high=0)  # drained means sent, so that stopping cuts no answer
        try:
            await self._receive()
        except TimeoutError:
            log.info("MLLP connection of %s closed: too slow", self._peer)

    async def _receive(self) -> None:
        clock = asyncio.get_running_loop().time
        since = clock()
        while not self._finishing.is_set() and (chunk := await self._read(since)):
            state = self._framer.state
            events = self._framer.receive(chunk)
            began = clock()
            for event in events:
                await self._answer(event)
                if self._finishing.is_set() and not isinstance(event, Part):
                    return
            if state is not self._framer.state or any(not isinstance(event, Part) for event in events):
                since = clock()
            else:
                since += clock() - began  # that its parts were waited for here is not the sender's fault

    async def _unfinished(self) -> None:
        for event in self._framer.finish():
            await self._take(event)

    async def _read(self, since: float) -> bytes:
        """Return some bytes, or none at the end of the stream. Bytes that complete nothing do not move the deadline."""
        patience = self._limits.idle if self._framer.state is State.BETWEEN else self._limits.read
        self._reading = True
        try:
            async with asyncio.timeout_at(since + patience):
                return await self._reader.read(CHUNK)
        finally:
            self._reading = False

    async def _answer(self, event: Event) -> None:
        answer = await self._take(event)
        if answer is None:
            return
        self._writer.write(wrap(answer))
        async with asyncio.timeout(self._limits.write):
            await self._writer.drain()

    async def _take(self, event: Event) -> bytes | None:
        if isinstance(event, Frame):
            return await self._handler(event.content, self._peer)
        if isinstance(event, Part):
            await self._begun().feed(event.content)
            return None
        if self._large is not None:
            large, self._large = self._large, None
            return await _ended(large, event)
        if self._faults is None:
            return None
        if isinstance(event, Junk):
            return await self._faults(event.reason, event.data, event.size, self._peer)
        if isinstance(event, TooLarge):
            return await self._faults("too-large", event.data, event.limit, self._peer)
        raise AssertionError(f"{type(event).__name__} without a Part before it")

    def _begun(self) -> Intake:
        if self._large is None:
            assert self._intake is not None
            self._large = self._intake(self._peer)
        return self._large


async def _ended(large: Intake, event: Last | Junk | TooLarge) -> bytes | None:
    """Tell an intake how its frame ended; where that fails, nothing of it stays."""
    try:
        if isinstance(event, Last):
            return await large.end(event.content)
        if isinstance(event, Junk):
            return await large.give_up(event.reason, event.size)
        return await large.give_up("too-large", event.limit)
    except BaseException:
        large.drop()
        raise


class NoAnswer(Exception):
    """The message may or may not have been taken: the connection ended or the time ran out before its answer."""


class Sender:
    """One connection to a receiver, opened when needed and kept; one message at a time, each with its answer."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        connect: float = 10.0,
        answer: float = 30.0,
        limit: int = 1024 * 1024,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        """`connect` and `answer` are seconds to wait; `limit` is the size in bytes of the largest answer taken.

        With `tls` the receiver has to prove that it is `server_name`, by itself `host`. `resolve` gives the addresses
        of the host, of which the first that answers is taken; without it the system's are.
        """
        self._address = (host, port)
        self._tls: dict[str, Any] = {"ssl": tls, "server_hostname": server_name or host} if tls else {}
        self._patience = (connect, answer)
        self._limit = limit
        self._resolve = resolve
        self._turn = asyncio.Lock()
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, message: bytes, belongs: Callable[[bytes], bool] | None = None) -> bytes:
        """Send one message and return the content of its answer: the first for which `belongs`, where given, is true.

        Raises NoAnswer when none comes (the next send opens a new connection, so a late answer is never taken for
        another message's), OSError or TimeoutError when the receiver cannot be reached, ValueError as `wrap` does.
        """
        framed = wrap(message)
        async with self._turn:
            reader, writer = await self._open()
            try:
                return await self._exchange(framed, reader, writer, belongs)
            except BaseException:
                writer.transport.abort()  # a mute peer would never let the bytes out that a close waits for
                await self._drop()
                raise

    async def close(self) -> None:
        """Close the connection; a later send opens another."""
        async with self._turn:
            await self._drop()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._stream is not None and self._stream[0].at_eof():
            await self._drop()
        if self._stream is None:
            async with asyncio.timeout(self._patience[0]):
                self._stream = await self._connected()
            keepalive(self._stream[1])
        return self._stream

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._address
        failure: OSError | None = None
        for address in await self._resolve(host, port) if self._resolve else [host]:
            try:
                return await asyncio.open_connection(address, port, limit=CHUNK, **self._tls)
            except OSError as problem:
                failure = problem
        raise failure or OSError(f"{host} has no address")

    async def _exchange(
        self,
        framed: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        belongs: Callable[[bytes], bool] | None,
    ) -> bytes:
        try:
            async with asyncio.timeout(self._patience[1]):
                writer.write(framed)
                await writer.drain()
                return await self._await_frame(reader, belongs)
        except TimeoutError as error:
            raise NoAnswer(f"no answer within {self._patience[1]:g} s") from error
        except OSError as error:
            raise NoAnswer(f"connection lost: {error}") from error

    async def _await_frame(self, reader: asyncio.StreamReader, belongs: Callable[[bytes], bool] | None) -> bytes:
        framer = Framer(self._limit)
        while chunk := await reader.read(CHUNK):
            for event in framer.receive(chunk):
                if isinstance(event, TooLarge):
                    raise NoAnswer(f"the answer is longer than {event.limit} bytes")
                if isinstance(event, Frame) and (belongs is None or belongs(event.content)):
                    return event.content
        raise NoAnswer("connection closed before the answer")

    async def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is None:
            return
        stream[1].close()
        try:
            await stream[1].wait_closed()
        except OSError as error:
            log.debug("connection to %s:%s was already lost: %s", *self._address, error)


def _peer(writer: asyncio.StreamWriter, door: int | None) -> Peer:
    name = writer.get_extra_info("peername")
    host, port = (str(name[0]), int(name[1])) if isinstance(name, tuple) else ("local", 0)
    secured = writer.get_extra_info("ssl_object")
    der = secured.getpeercert(binary_form=True) if secured else None
    return Peer(host, port, door, secured is not None, certificates.read(der) if der else None)
