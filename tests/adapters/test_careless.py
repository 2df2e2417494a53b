"""A sender with bad habits of framing: what it writes, and that a receiver understands it all the same."""

from __future__ import annotations

import asyncio
import socket

import pytest

from adapters.careless import Careless, Manners, pieces
from adapters.contract import Peer
from adapters.mllp import Listener, NoAnswer


async def echo(message: bytes, peer: Peer) -> bytes | None:
    return b"ACK " + message


@pytest.mark.parametrize(
    ("manners", "written"),
    [
        (Manners(), [b"\x0bMSH\x1c\r"]),
        (Manners(no_cr=True), [b"\x0bMSH\x1c"]),
        (Manners(junk=True), [b"\r\n  \x0bMSH\x1c\r"]),
        (Manners(pieces=4), [b"\x0bMSH", b"\x1c\r"]),
    ],
)
def test_each_habit_is_seen_in_the_bytes(manners: Manners, written: list[bytes]) -> None:
    assert list(pieces(b"MSH", manners)) == written


async def test_a_receiver_answers_it_whatever_its_habits() -> None:
    junk: list[bytes] = []

    async def faults(reason: str, data: bytes, size: int, peer: Peer) -> bytes | None:
        junk.append(data)
        return None

    listener = await Listener.start(echo, faults=faults)
    sender = Careless("127.0.0.1", listener.port, Manners(3, no_cr=True, junk=True))
    try:
        for text in (b"MSH|1", b"MSH|2"):
            assert await sender.send(text) == b"ACK " + text
        assert junk == [b"  ", b"  "]
    finally:
        await sender.close()
        await listener.stop()


async def test_a_mute_receiver_and_a_lost_one_are_told_apart_from_none_at_all() -> None:
    async def mute(message: bytes, peer: Peer) -> bytes | None:
        return None

    listener = await Listener.start(mute)
    sender = Careless("127.0.0.1", listener.port, patience=0.2)
    with pytest.raises(NoAnswer):
        await sender.send(b"MSH|1")
    await listener.stop()
    with pytest.raises(OSError):
        await sender.send(b"MSH|2")


async def test_it_connects_again_after_the_receiver_closed() -> None:
    answered = asyncio.Event()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\x1c")
        writer.write(b"\x0bACK\x1c\r")
        writer.close()
        answered.set()

    server = await asyncio.start_server(once, sock=socket.create_server(("127.0.0.1", 0)))
    sender = Careless("127.0.0.1", server.sockets[0].getsockname()[1])
    assert await sender.send(b"MSH|1") == b"ACK"
    await answered.wait()
    try:
        # The end of the first connection may be noticed with the second message; the third has a new one then.
        assert await sender.send(b"MSH|2") == b"ACK"
    except NoAnswer:
        assert await sender.send(b"MSH|3") == b"ACK"
    finally:
        await sender.close()
        server.close()
        await server.wait_closed()
