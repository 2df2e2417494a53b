"""Senders as interface engines are: one message at a time on each connection, sent again until it is acknowledged."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator

import msgspec

from adapters.mllp import NoAnswer, Sender
from mappings.header import header

# Every message says the patient's newest name; every fourth brings a report of its own, too.
PID = "PID|1||{patient}^^^NORTH^MR||{family}^Nine||19700101|F\r"
ADT = "MSH|^~\\&|HIS|NORTH|CONCORD|CLINIC|{sent}+0000||ADT^A08^ADT_A01|{control}|P|2.5.1\rEVN|A08|{sent}+0000\r" + PID
ORU = (
    "MSH|^~\\&|LAB|NORTH|CONCORD|CLINIC|{sent}+0000||ORU^R01^ORU_R01|{control}|P|2.5.1\r"
    + PID
    + "OBR|1||F{control}^LAB|718-7^Hemoglobin^LN|||{sent}+0000|||||||||||||||{sent}+0000||HM|F\r"
    "OBX|1|NM|718-7^Hemoglobin^LN||13.{digit}|g/dL^^UCUM|12-16||||F|||{sent}+0000\r"
)


class Letter(msgspec.Struct, frozen=True):
    """One message: the `number`th of its patient, from 0."""

    patient: str
    number: int

    @property
    def control_id(self) -> str:
        """Return MSH-10."""
        return f"{self.patient}-{self.number}"

    @property
    def family(self) -> str:
        """Return the name that its patient has from now on."""
        return f"Name{self.number:05}"

    @property
    def reports(self) -> bool:
        """Say whether it brings a report."""
        return self.number % 4 == 3

    def text(self) -> bytes:
        """Return the message; each of a patient is sent a second later than the one before."""
        minute, second = divmod(self.number, 60)
        sent = f"20260301{minute // 60:02}{minute % 60:02}{second:02}"
        given = {"patient": self.patient, "control": self.control_id, "family": self.family, "sent": sent}
        return (ORU if self.reports else ADT).format(digit=self.number % 10, **given).encode()


class Senders:
    """Connections that run in a thread of their own until each of their messages has its AA."""

    def __init__(self, port: int, messages: int, connections: int, patients: int, name: str = "K") -> None:
        """Each connection sends for `patients` patients in turn, whose numbers begin with `name`; `messages` is the
        number of all together."""
        self.letters: list[Letter] = []
        self.accepted: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.hold = False  # send nothing new meanwhile
        self._port = port
        self._lines = [list(_line(name, line, patients, messages, connections)) for line in range(connections)]
        self.letters = [letter for line in self._lines for letter in line]
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="senders")

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Say whether something is still to be sent."""
        return self._thread.is_alive()

    def join(self, seconds: float = 600.0) -> None:
        """Wait until all is acknowledged. Raises what went wrong."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "not everything was acknowledged"
        if self._failure is not None:
            raise self._failure

    def _main(self) -> None:
        try:
            asyncio.run(self._all())
        except BaseException as failure:
            self._failure = failure

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for line in self._lines:
                group.create_task(self._send(line))

    async def _send(self, line: list[Letter]) -> None:
        sender = Sender("127.0.0.1", self._port, connect=5, answer=10)
        for letter in line:
            while self.hold:
                await asyncio.sleep(0.02)
            while (code := await self._tried(sender, letter)) != "AA":
                self.answers[code] += 1
                await asyncio.sleep(0.2)
            self.answers[code] += 1
            self.accepted[letter.control_id] += 1
        await sender.close()

    async def _tried(self, sender: Sender, letter: Letter) -> str:
        """Return MSA-1, or `none` where no answer came."""
        try:
            answer = await sender.send(letter.text())
        except (NoAnswer, OSError, TimeoutError):
            return "none"
        said = {part[:3]: part.split("|") for part in answer.decode().split("\r")}
        assert header(answer).message_type == "ACK"
        assert said["MSA"][2] == letter.control_id, "an answer that belongs to another message"
        return said["MSA"][1]


def _line(name: str, line: int, patients: int, messages: int, connections: int) -> Iterator[Letter]:
    """Yield the messages of one connection: its patients in turn, each from its first message on."""
    for n in range(line, messages, connections):
        turn = n // connections
        yield Letter(f"{name}{line}x{turn % patients}", turn // patients)
