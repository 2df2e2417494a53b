"""What the torture shares: a real `concord mllp` with small limits, its memory, and a sender that behaves well."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random

from adapters.frames import Frame, Framer
from adapters.mllp import Sender
from tests.flows.serve import CONCORD, clean_environ

MB = 1 << 20


class Process:
    """A part of a server in a process of its own; `ready` is its JSON line."""

    def __init__(self, process: subprocess.Popen[str], ready: dict[str, int]) -> None:
        self.process, self.ready = process, ready

    @property
    def port(self) -> int:
        return self.ready["mllp_port"]

    def memory(self, what: str = "VmRSS") -> float:
        """Return what the process has in memory, in MB; `VmHWM`: the most it had since `forget`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{what}:\s+(\d+) kB", status)
        assert found
        return int(found[1]) / 1024

    def forget(self) -> float:
        """Begin to measure the peak anew, and return what is in memory now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.memory()

    def above(self, idle: float) -> float:
        """Return by how many MB the peak since `forget` was above a former state."""
        return self.memory("VmHWM") - idle


@contextmanager
def part(name: str, dsn: str, folder: Path, **settings: str) -> Iterator[Process]:
    """Run one part of a server until the block ends."""
    given = {"database_url": dsn, "data_dir": str(folder), "mllp_port": "0", "log_format": "json"} | settings
    environ = clean_environ(**{f"CONCORD_{key.upper()}": value for key, value in given.items()})
    with folder.joinpath(f"{name}.log").open("ab") as log:
        process = subprocess.Popen([CONCORD, name], stdout=subprocess.PIPE, stderr=log, env=environ, text=True)
        assert process.stdout
        try:
            yield Process(process, json.loads(process.stdout.readline()) if name == "mllp" else {})
        finally:
            process.terminate()
            with process.stdout:
                process.wait(60)


class Wild:
    """A connection that sends what it is told, whatever it does to the other end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.framer, self.answers = reader, writer, Framer(10**7), list[bytes]()

    @classmethod
    @asynccontextmanager
    async def to(cls, port: int) -> AsyncIterator[Wild]:
        """Connect until the block ends."""
        one = cls(*await asyncio.open_connection("127.0.0.1", port))
        try:
            yield one
        finally:
            one.writer.transport.abort()
            with contextlib.suppress(OSError):
                await one.writer.wait_closed()

    async def answer(self) -> bytes:
        """Return the next answer, b"" where the other end closes."""
        async with asyncio.timeout(240):
            while not self.answers:
                chunk = await self.reader.read(65536)
                if not chunk:
                    return b""
                self.answers += [event.content for event in self.framer.receive(chunk) if isinstance(event, Frame)]
        return self.answers.pop(0)

    async def write(self, data: bytes) -> None:
        """Send bytes, once there is room for them."""
        self.writer.write(data)
        await self.writer.drain()


class Other:
    """A sender that behaves well; what it sent and was told."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sent: list[str] = []
        self.told: list[bytes] = []

    async def run(self, port: int) -> None:
        sender = Sender("127.0.0.1", port, answer=240)
        try:
            while True:
                control_id = f"{self.name}-{len(self.sent)}"
                self.sent.append(control_id)
                self.told.append(await sender.send(message(control_id, control_id)))
                await asyncio.sleep(0.01)
        finally:
            await sender.close()


@asynccontextmanager
async def others_served(port: int, name: str) -> AsyncIterator[Other]:
    """Have another sender at work during the block, which gets AA for each of its messages, and at least a few."""
    other = Other(name)
    task = asyncio.create_task(other.run(port))
    try:
        yield other
        async with asyncio.timeout(240):
            while len(other.told) < 3:
                await asyncio.sleep(0.01)
                assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert all(b"MSA|AA|" in answer for answer in other.told)


def message(control_id: str, patient: str = "1", charset: str = "", more: bytes = b"") -> bytes:
    """Return a small message."""
    head = (
        f"MSH|^~\\&|WILD|NORTH|CONCORD|CLINIC|20260301110000+0000||ADT^A08^ADT_A01|{control_id}|P|2.5.1||||||{charset}"
    )
    return head.encode() + f"\rPID|1||{patient}^^^NORTH^MR||Meier^Anna||19700101|F\r".encode() + more


_RANDOM = Random(7).randbytes(48 * 1024)


def document(control_id: str, size: int) -> Iterator[bytes]:
    """Return a message with a document of about so many bytes, in pieces; documents of two ids differ."""
    yield f"MSH|^~\\&|WILD|NORTH|C|C|20260301110000+0000||ORU^R01^ORU_R01|{control_id}|P|2.5.1\r".encode()
    yield f"PID|1||{control_id}^^^NORTH^MR||Meier^Anna||19700101|F\r".encode()
    yield f"OBR|1|P{control_id}|F{control_id}|18748-4^Report^LN|||20260301100000+0000\r".encode()
    yield b"OBX|1|ED|PDF^Scan^L||LAB^AP^PDF^Base64^"
    for number in range(-(-size // len(_RANDOM))):
        yield base64.b64encode(f"{control_id:>20}{number:>10}".encode() + _RANDOM[30:])
    yield b"||||||F\r"
