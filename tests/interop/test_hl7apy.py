"""hl7apy sends to us, framed and over a socket as its documentation shows, and its MLLPServer receives from us.

https://crs4.github.io/hl7apy/
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hl7apy.mllp import AbstractErrorHandler, AbstractHandler, MLLPRequestHandler, MLLPServer
from hl7apy.parser import parse_message

from adapters.mllp import NoAnswer, Sender
from fhir_server.commands.send import answered
from fhir_server.store.embedded import EmbeddedPostgres
from tests.interop.door import CHARSETS, LARGE, Door, adt, refused, sent_on, unusable


def asked(port: int, *sent: tuple[str, str]) -> list[tuple[str, str, str]]:
    """Send messages that hl7apy has made and framed over one connection; return MSA-1, MSA-2 and ERR-3.1 of each."""
    said = []
    with socket.create_connection(("127.0.0.1", port)) as sock:
        for text, codec in sent:
            sock.sendall(parse_message(text, find_groups=False).to_mllp().encode(codec))
            answer = b""
            while not answer.endswith(b"\x1c\r"):
                answer += sock.recv(4096)
            message = parse_message(answer[1:-2].decode(codec), find_groups=False)
            error = message.err.err_3.err_3_1.to_er7() if message.err else ""
            said.append((message.msa.msa_1.to_er7(), message.msa.msa_2.to_er7(), error))
    return said


async def test_what_it_makes_comes_in_every_charset_over_one_connection(door: Door) -> None:
    sent = [(adt(f"C{n}", name, charset), codec) for n, (charset, codec, name) in enumerate(CHARSETS)]
    said = await asyncio.to_thread(asked, door.port, *sent)
    assert said == [("AA", f"C{n}", "") for n in range(len(CHARSETS))]
    assert await door.families() == {f"C{n}": name for n, (_, _, name) in enumerate(CHARSETS)}


async def test_it_understands_that_a_message_is_refused_or_cannot_be_processed(door: Door) -> None:
    sent = ((refused("R1"), "utf-8"), (unusable("E1"), "utf-8"), (adt("A1"), "utf-8"))
    first, second, third = await asyncio.to_thread(asked, door.port, *sent)
    assert first == ("AR", "R1", "200")
    assert second[:2] == ("AE", "E1")
    assert third == ("AA", "A1", "")
    assert await door.states() == {"R1": "rejected", "E1": "buried", "A1": "done"}


async def test_it_sends_two_megabytes(door: Door) -> None:
    assert await asyncio.to_thread(asked, door.port, (adt("L1", note="x" * LARGE), "utf-8")) == [("AA", "L1", "")]


class Answering(AbstractHandler):
    """Keeps a message and acknowledges it by what its control id begins with."""

    def __init__(self, message: str, taken: list[str]) -> None:
        super().__init__(message)
        taken.append(message)

    def reply(self) -> str:
        """Return the framed answer."""
        control_id = parse_message(self.incoming_message, find_groups=False).msh.msh_10.to_er7()
        code = control_id[:2] if control_id[:2] in ("AE", "AR") else "AA"
        return f"\x0bMSH|^~\\&|R|R|S|S|20260301||ACK|{control_id}|P|2.5.1\rMSA|{code}|{control_id}\r\x1c\r"


class Refusing(AbstractErrorHandler):
    """Refuses what the server has no handler for."""

    def reply(self) -> str:
        """Return the framed answer."""
        control_id = parse_message(self.incoming_message, find_groups=False).msh.msh_10.to_er7()
        said = f"MSA|AR|{control_id}\rERR|||200^Unsupported message type^HL70357|E\r"
        return f"\x0bMSH|^~\\&|R|R|S|S|20260301||ACK|{control_id}|P|2.5.1\r{said}\x1c\r"


@contextmanager
def its_server(taken: list[str], codec: str) -> Iterator[int]:
    """Give the port of its server, which takes admissions and closes the connection after each message."""
    handler = type("Handler", (MLLPRequestHandler,), {"encoding": codec})
    handlers = {"ADT^A01^ADT_A01": (Answering, taken), "ERR": (Refusing,)}
    server = MLLPServer("127.0.0.1", 0, handlers, timeout=60, request_handler_class=handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def sent_until_answered(sender: Sender, data: bytes) -> bytes:
    """Send as a destination does: a connection that the receiver has just closed costs another try."""
    while True:
        try:
            return await sender.send(data)
        except NoAnswer:
            await asyncio.sleep(0.05)


async def test_its_server_takes_what_one_sender_of_ours_sends_though_it_closes_after_each_message() -> None:
    for charset, codec, name in CHARSETS:
        taken: list[str] = []
        with its_server(taken, codec) as port:
            sender = Sender("127.0.0.1", port)
            sent = [adt(f"{code}{n}", name, charset) for n, code in enumerate(("AA", "AE", "AR", "AA"))]
            said = [answered(await sent_until_answered(sender, one.encode(codec)))[0] for one in sent]
            await sender.close()
        assert said == ["AA", "AE", "AR", "AA"]
        assert taken == sent


async def test_what_its_server_has_no_handler_for_is_refused_and_we_read_why() -> None:
    with its_server([], "utf-8") as port:
        sender = Sender("127.0.0.1", port)
        answer = await sender.send(refused("R1").encode())
        await sender.close()
    assert answered(answer)[0] == "AR"
    assert b"ERR|||200^" in answer


async def test_its_server_takes_a_large_message() -> None:
    taken: list[str] = []
    with its_server(taken, "utf-8") as port:
        sender = Sender("127.0.0.1", port, answer=120)
        answer = await sender.send(adt("A1", note="x" * (LARGE // 20)).encode())
        await sender.close()
    assert answered(answer)[0] == "AA"
    assert taken == [adt("A1", note="x" * (LARGE // 20))]


async def test_its_server_is_a_destination_and_its_answers_decide(postgres: EmbeddedPostgres, fresh_name: str) -> None:
    taken: list[str] = []
    sent = [adt(id_) for id_ in ("A1", "AE1", "A2")]
    unknown = adt("A3").replace("ADT^A01", "ADT^A08")
    with its_server(taken, "utf-8") as port:
        states = await sent_on(postgres.server_dsn(fresh_name), port, *(one.encode() for one in (*sent, unknown)))
    assert states == {"A1": "done", "AE1": "held", "A2": "done", "A3": "failed"}
    assert set(taken) == set(sent)
