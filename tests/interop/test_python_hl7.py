"""python-hl7 sends to us and receives from us: https://python-hl7.readthedocs.io."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import hl7
from hl7.client import MLLPClient
from hl7.mllp import HL7StreamReader, HL7StreamWriter, open_hl7_connection, start_hl7_server

from adapters.mllp import Sender
from fhir_server.commands.send import answered
from fhir_server.store.embedded import EmbeddedPostgres
from tests.flows.serve import concord
from tests.interop.door import CHARSETS, LARGE, Door, adt, refused, sent_on, unusable

MLLP_SEND = shutil.which("mllp_send", path=os.path.dirname(sys.executable)) or "mllp_send"


async def test_its_client_sends_several_messages_on_one_connection_in_every_charset(door: Door) -> None:
    def send() -> list[str]:
        with MLLPClient("127.0.0.1", door.port) as client:
            sent = [adt(f"C{n}", name, charset).encode(codec) for n, (charset, codec, name) in enumerate(CHARSETS)]
            return [str(hl7.parse(client.send_message(one))["MSA.F1"]) for one in sent]

    assert await asyncio.to_thread(send) == ["AA"] * len(CHARSETS)
    assert await door.families() == {f"C{n}": name for n, (_, _, name) in enumerate(CHARSETS)}


async def test_its_client_understands_that_a_message_is_refused_or_cannot_be_processed(door: Door) -> None:
    def send() -> list[tuple[str, str, str]]:
        with MLLPClient("127.0.0.1", door.port) as client:
            said = [hl7.parse(client.send_message(one)) for one in (refused("R1"), unusable("E1"), adt("A1"))]
        codes = [str(one["ERR.F3.R1.C1"]) if len(one) > 2 else "" for one in said]
        return [(str(one["MSA.F1"]), str(one["MSA.F2"]), code) for one, code in zip(said, codes, strict=True)]

    first, second, third = await asyncio.to_thread(send)
    assert first == ("AR", "R1", "200")
    assert second[:2] == ("AE", "E1")
    assert third == ("AA", "A1", "")
    assert await door.states() == {"R1": "rejected", "E1": "buried", "A1": "done"}


async def test_its_client_sends_two_megabytes(door: Door) -> None:
    def send() -> bytes:
        with MLLPClient("127.0.0.1", door.port) as client:
            return bytes(client.send_message(adt("L1", note="x" * LARGE)))

    assert answered(await asyncio.to_thread(send)) == ("AA", "")
    assert await door.families() == {"L1": "Muller"}


async def test_its_command_sends_a_file(door: Door, tmp_path: Path) -> None:
    file = tmp_path / "two.hl7"
    file.write_bytes(b"".join(b"\x0b" + adt(f"F{n}").encode() + b"\x1c\r" for n in range(2)))
    argv = [MLLP_SEND, "-p", str(door.port), "-f", str(file), "127.0.0.1"]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, check=True, timeout=120)
    assert done.stdout.count(b"MSA|AA|F") == 2
    assert await door.states() == {"F0": "done", "F1": "done"}


async def test_its_streams_send_messages_without_waiting_and_read_the_answers_in_order(door: Door) -> None:
    reader, writer = await open_hl7_connection("127.0.0.1", door.port, encoding="utf-8")
    for n in range(20):
        writer.writemessage(hl7.parse(adt(f"S{n}", "山田", "UNICODE UTF-8")))
    await writer.drain()
    said = [await reader.readmessage() for _ in range(20)]
    writer.close()
    assert [str(one["MSA.F1"]) + str(one["MSA.F2"]) for one in said] == [f"AAS{n}" for n in range(20)]


@asynccontextmanager
async def its_server(taken: list[hl7.Message], encoding: str) -> AsyncIterator[int]:
    """Give the port of its server; a control id that begins with a code is answered by it."""

    async def serve(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        try:
            while True:
                message = await reader.readmessage()
                taken.append(message)
                control_id = str(message["MSH.F10"])
                writer.writemessage(message.create_ack(control_id[:2] if control_id[:2] in ("AE", "AR") else "AA"))
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    server = await start_hl7_server(serve, "127.0.0.1", 0, limit=LARGE * 2, encoding=encoding)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_its_server_takes_what_we_send_in_every_charset_and_we_understand_its_answers() -> None:
    for charset, codec, name in CHARSETS:
        taken: list[hl7.Message] = []
        async with its_server(taken, codec) as port:
            sender = Sender("127.0.0.1", port)
            sent = [adt(f"{code}{n}", name, charset) for n, code in enumerate(("AA", "AE", "AR", "AA"))]
            said = [answered(await sender.send(one.encode(codec)))[0] for one in sent]
            await sender.close()
        assert said == ["AA", "AE", "AR", "AA"]
        assert [str(one) for one in taken] == sent


async def test_its_server_takes_a_large_message_and_what_concord_send_sends(tmp_path: Path) -> None:
    taken: list[hl7.Message] = []
    (tmp_path / "1.hl7").write_text(adt("A1", note="x" * LARGE), newline="")
    (tmp_path / "2.hl7").write_text(adt("AE2"), newline="")
    async with its_server(taken, "utf-8") as port:
        done = await asyncio.to_thread(concord, "send", str(tmp_path), "--to", f"127.0.0.1:{port}", check=False)
    assert done.returncode == 1, "one was not accepted"
    assert "2.hl7: AE" in done.stdout
    assert [str(one) for one in taken] == [adt("A1", note="x" * LARGE), adt("AE2")]


async def test_its_server_is_a_destination_and_its_answers_decide(postgres: EmbeddedPostgres, fresh_name: str) -> None:
    taken: list[hl7.Message] = []
    sent = [adt(f"{code}{n}", "山田", "UNICODE UTF-8") for n, code in enumerate(("AA", "AE", "AR", "AA"))]
    async with its_server(taken, "utf-8") as port:
        states = await sent_on(postgres.server_dsn(fresh_name), port, *(one.encode() for one in sent))
    assert states == {"AA0": "done", "AE1": "held", "AR2": "queued", "AA3": "done"}, "a bare AR may be sent again"
    assert {str(one) for one in taken} == set(sent)
