"""MLLP over real sockets: what a sender sees of the listener, and what our sender makes of a receiver."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from adapters.contract import Peer
from adapters.frames import Frame, Framer, wrap
from adapters.mllp import Limits, Listener, NoAnswer, Sender

Faults = list[tuple[str, bytes, int]]


async def echo(message: bytes, peer: Peer) -> bytes | None:
    return b"ACK " + message


@contextlib.asynccontextmanager
async def listening(
    handler: Callable[[bytes, Peer], Awaitable[bytes | None]] = echo, **limits: float
) -> AsyncIterator[tuple[Listener, Faults]]:
    seen: Faults = []

    async def faults(reason: str, data: bytes, size: int, peer: Peer) -> bytes | None:
        seen.append((reason, data, size))
        return b"TOO LARGE" if reason == "too-large" else None

    listener = await Listener.start(handler, limits=Limits(**limits), faults=faults)  # type: ignore[arg-type]
    try:
        yield listener, seen
    finally:
        await listener.stop()


class Raw:
    """A bare connection: writes what it is told, reads frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.framer, self.frames = reader, writer, Framer(10**6), list[bytes]()

    async def answer(self) -> bytes:
        """Return the next answer, or b"" when the other end closes."""
        async with asyncio.timeout(30):
            while not self.frames:
                chunk = await self.reader.read(65536)
                if not chunk:
                    return b""
                self.frames += [e.content for e in self.framer.receive(chunk) if isinstance(e, Frame)]
        return self.frames.pop(0)


@contextlib.asynccontextmanager
async def connected(listener: Listener) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.005)


async def test_each_message_of_a_connection_is_answered_in_order() -> None:
    async with listening() as (listener, _), connected(listener) as raw:
        raw.writer.write(wrap(b"1") + wrap(b"2") + wrap(b"3"))
        assert [await raw.answer() for _ in range(3)] == [b"ACK 1", b"ACK 2", b"ACK 3"]


async def test_a_message_is_not_begun_before_the_one_ahead_of_it_is_answered() -> None:
    running, most = 0, 0

    async def slow(message: bytes, peer: Peer) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        return message

    async with listening(slow) as (listener, _), connected(listener) as raw:
        raw.writer.write(b"".join(wrap(b"%d" % i) for i in range(10)))
        assert [await raw.answer() for _ in range(10)] == [b"%d" % i for i in range(10)]
    assert most == 1


async def test_a_frame_sent_byte_by_byte_is_one_message() -> None:
    async with listening() as (listener, _), connected(listener) as raw:
        for byte in wrap(b"slow"):
            raw.writer.write(bytes([byte]))
            await raw.writer.drain()
        assert await raw.answer() == b"ACK slow"


async def test_a_frame_without_its_last_cr_is_answered_at_once() -> None:
    async with listening() as (listener, _), connected(listener) as raw:
        raw.writer.write(b"\x0bA\x1c")
        assert await raw.answer() == b"ACK A"


async def test_junk_is_reported_and_the_message_behind_it_answered() -> None:
    async with listening() as (listener, faults), connected(listener) as raw:
        raw.writer.write(b"GET / HTTP/1.1\r\n" + wrap(b"A"))
        assert await raw.answer() == b"ACK A"
        assert faults == [("unframed", b"GET / HTTP/1.1\r\n", 16)]


async def test_a_frame_over_the_limit_is_refused_and_the_connection_goes_on() -> None:
    async with listening(frame=100) as (listener, faults), connected(listener) as raw:
        raw.writer.write(wrap(b"x" * 101) + wrap(b"A"))
        assert [await raw.answer(), await raw.answer()] == [b"TOO LARGE", b"ACK A"]
        assert faults == [("too-large", b"x" * 100, 100)]


async def test_an_unfinished_frame_of_a_lost_connection_is_reported() -> None:
    async with listening() as (listener, faults):
        async with connected(listener) as raw:
            raw.writer.write(b"\x0bMSH|half")
        await eventually(lambda: bool(faults))
        assert faults == [("unfinished", b"MSH|half", 8)]


async def test_a_sender_that_never_ends_its_frame_is_cut_off() -> None:
    async with listening(read=0.05) as (listener, faults), connected(listener) as raw:
        raw.writer.write(b"\x0bMSH|")
        assert await raw.answer() == b""
        assert faults == [("unfinished", b"MSH|", 4)]


async def test_a_sender_that_drips_one_frame_cannot_move_the_read_deadline() -> None:
    async def cut_off(raw: Raw) -> bool:
        raw.writer.write(b"\x0b")
        try:
            for _ in range(100):
                raw.writer.write(b"x")
                await raw.writer.drain()
                await asyncio.sleep(0.02)
                if raw.reader.at_eof():
                    return True
        except OSError:  # bytes that nobody read any more
            return True
        return False

    async with listening(read=0.2) as (listener, _), connected(listener) as raw:
        assert await cut_off(raw)


async def test_an_idle_connection_is_closed() -> None:
    async with listening(idle=0.5) as (listener, _), connected(listener) as raw:
        raw.writer.write(wrap(b"A"))
        assert await raw.answer() == b"ACK A"
        assert await raw.answer() == b""


async def test_connections_over_the_cap_are_refused_and_the_others_served() -> None:
    async with listening(connections=1) as (listener, _), connected(listener) as first:
        first.writer.write(wrap(b"A"))
        assert await first.answer() == b"ACK A"
        async with connected(listener) as second:
            with contextlib.suppress(ConnectionError):
                assert await second.answer() == b""
        first.writer.write(wrap(b"B"))
        assert await first.answer() == b"ACK B"
        assert listener.refused == 1


async def test_a_handler_that_fails_closes_its_connection_without_an_answer() -> None:
    async def broken(message: bytes, peer: Peer) -> bytes:
        if message == b"poison":
            raise RuntimeError(message)
        return message

    async with listening(broken) as (listener, _), connected(listener) as one, connected(listener) as two:
        one.writer.write(wrap(b"poison"))
        assert await one.answer() == b""
        two.writer.write(wrap(b"fine"))
        assert await two.answer() == b"fine"


async def test_no_answer_is_sent_where_the_handler_returns_none() -> None:
    async def quiet(message: bytes, peer: Peer) -> bytes | None:
        return message if message == b"asked" else None

    async with listening(quiet) as (listener, _), connected(listener) as raw:
        raw.writer.write(wrap(b"told") + wrap(b"asked"))
        assert await raw.answer() == b"asked"


async def test_stopping_lets_the_answer_under_way_go_out_and_takes_no_further_message() -> None:
    begun, release, taken = asyncio.Event(), asyncio.Event(), list[bytes]()

    async def held(message: bytes, peer: Peer) -> bytes:
        taken.append(message)
        begun.set()
        await release.wait()
        return b"ACK " + message

    async with listening(held) as (listener, _), connected(listener) as raw, connected(listener) as idle:
        raw.writer.write(wrap(b"1") + wrap(b"2"))
        await begun.wait()
        await eventually(lambda: listener.connections == 2)
        stopping = asyncio.create_task(listener.stop())
        assert await idle.answer() == b""
        release.set()
        await stopping
        assert [await raw.answer(), await raw.answer()] == [b"ACK 1", b""]
        assert taken == [b"1"]


async def test_stopping_does_not_wait_for_ever_on_a_handler() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def stuck(message: bytes, peer: Peer) -> bytes:
        begun.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b""

    async with listening(stuck, grace=0.05) as (listener, _), connected(listener) as raw:
        raw.writer.write(wrap(b"A"))
        await begun.wait()
        async with asyncio.timeout(30):
            await listener.stop()
        assert cancelled.is_set()
        assert await raw.answer() == b""


async def test_a_listener_takes_a_socket_made_elsewhere() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    listener = await Listener.start(echo, sock=sock)
    sender = Sender("127.0.0.1", listener.port)
    assert await sender.send(b"A") == b"ACK A"
    await sender.close()
    await listener.stop()


async def test_a_port_in_use_cannot_be_had() -> None:
    async with listening() as (listener, _):
        with pytest.raises(OSError, match="address already in use"):
            await Listener.start(echo, port=listener.port)


async def test_the_sender_keeps_one_connection_for_many_messages() -> None:
    peers = set[Peer]()

    async def note(message: bytes, peer: Peer) -> bytes:
        peers.add(peer)
        return message

    async with listening(note) as (listener, _):
        sender = Sender("127.0.0.1", listener.port)
        assert [await sender.send(b"%d" % i) for i in range(5)] == [b"%d" % i for i in range(5)]
        assert len(peers) == 1
        await sender.close()


async def test_messages_sent_at_once_each_get_their_own_answer() -> None:
    async with listening() as (listener, _):
        sender = Sender("127.0.0.1", listener.port)
        answers = await asyncio.gather(*(sender.send(b"%d" % i) for i in range(20)))
        assert answers == [b"ACK %d" % i for i in range(20)]
        await sender.close()


async def test_a_late_answer_is_never_taken_for_another_messages() -> None:
    given_up = asyncio.Event()

    async def slow_first(message: bytes, peer: Peer) -> bytes:
        if message == b"slow":
            await given_up.wait()
        return message

    async with listening(slow_first) as (listener, _):
        sender = Sender("127.0.0.1", listener.port, answer=0.5)
        with pytest.raises(NoAnswer, match=r"within 0\.5 s"):
            await sender.send(b"slow")
        given_up.set()
        assert await sender.send(b"quick") == b"quick"
        await sender.close()


async def test_answers_that_belong_to_another_message_are_passed_over() -> None:
    async def both(message: bytes, peer: Peer) -> bytes:
        return b"MSA|AA|1" if message == b"1" else b"MSA|AA|2"

    async with listening(both) as (listener, _):
        sender = Sender("127.0.0.1", listener.port, answer=0.5)
        assert await sender.send(b"1", lambda a: a.endswith(b"1")) == b"MSA|AA|1"
        with pytest.raises(NoAnswer):
            await sender.send(b"2", lambda a: a.endswith(b"1"))
        await sender.close()


async def test_the_sender_reconnects_when_the_receiver_closed_an_idle_connection() -> None:
    async with listening(idle=0.3) as (listener, _):
        sender = Sender("127.0.0.1", listener.port)
        assert await sender.send(b"A") == b"ACK A"
        await eventually(lambda: listener.connections == 0)
        await asyncio.sleep(0.02)
        assert await sender.send(b"B") == b"ACK B"
        await sender.close()


async def test_a_receiver_that_closes_without_an_answer_is_told() -> None:
    async def broken(message: bytes, peer: Peer) -> bytes:
        raise RuntimeError

    async with listening(broken) as (listener, _):
        sender = Sender("127.0.0.1", listener.port)
        with pytest.raises(NoAnswer):
            await sender.send(b"A")
        await sender.close()


async def test_an_answer_over_the_limit_is_refused() -> None:
    async with listening() as (listener, _):
        sender = Sender("127.0.0.1", listener.port, limit=10)
        with pytest.raises(NoAnswer, match="longer than 10 bytes"):
            await sender.send(b"x" * 100)
        await sender.close()


async def test_a_receiver_that_is_not_there_is_an_os_error() -> None:
    # Bound and deaf: refused, and nobody else can have the port meanwhile.
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match=r"."):
            await Sender("127.0.0.1", sock.getsockname()[1]).send(b"A")


def test_a_peer_reads_as_host_and_port() -> None:
    assert [str(Peer("10.0.0.1", 5)), str(Peer("::1", 5))] == ["10.0.0.1:5", "[::1]:5"]
