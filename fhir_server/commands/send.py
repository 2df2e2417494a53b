"""concord send: HL7 files over MLLP, with the acknowledgements counted."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from adapters.certificates import sending
from adapters.mllp import NoAnswer, Sender
from mappings.header import header

_START = re.compile(rb"(?m)^(?=MSH[^A-Za-z0-9\r\n])")
_ENVELOPE = re.compile(rb"(?m)^(?:FHS|BHS|BTS|FTS)[^\r\n]*(?:\r\n|\r|\n|\Z)")
_ACCEPTED = frozenset(("AA", "CA"))


class Sent(msgspec.Struct, frozen=True):
    """What became of one message: the acknowledgement code (or `none`) and what the receiver said with it."""

    place: str
    code: str
    text: str = ""


def send(
    files: Annotated[list[Path], typer.Argument(help="HL7 files, or folders with *.hl7 and *.txt files.", exists=True)],
    to: Annotated[str, typer.Option(help="HOST:PORT of the MLLP receiver.")] = "127.0.0.1:2575",
    connections: Annotated[int, typer.Option(help="Connections to send over; order is kept within each.", min=1)] = 1,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for each acknowledgement.")] = 30.0,
    repeat: Annotated[int, typer.Option(help="Send everything this many times.", min=1)] = 1,
    tls: Annotated[bool, typer.Option("--tls", help="Send over TLS; the options below ask for it as well.")] = False,
    authority: Annotated[
        Path | None, typer.Option(help="PEM file of whom to trust; if none, the well-known authorities.", exists=True)
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file to prove who sends.", exists=True)] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file with the key of --certificate.", exists=True)] = None,
    server_name: Annotated[str | None, typer.Option(help="Name to be proven, if it is not HOST.")] = None,
) -> None:
    """Send HL7 files over MLLP. Exit status 1 if any message was not accepted."""
    host, port = _address(to)
    context = _context(authority, certificate, key) if tls or authority or certificate or server_name else None

    def sender() -> Sender:
        return Sender(host, port, answer=timeout, tls=context, server_name=server_name)

    found = [m for file in _files(files) for m in messages(file)] * repeat
    if not found:
        raise typer.BadParameter("no HL7 message (a line that begins with MSH) is in these files")
    sent = asyncio.run(_send_all(found, sender, connections))
    _summary(sent)
    raise typer.Exit(0 if all(s.code in _ACCEPTED for s in sent) else 1)


def _address(to: str) -> tuple[str, int]:
    host, _, port = to.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise typer.BadParameter(f"--to takes HOST:PORT, such as 127.0.0.1:2575, not {to!r}")
    return host.strip("[]"), int(port)


def _files(given: list[Path]) -> Iterator[Path]:
    for path in given:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.suffix.lower() in (".hl7", ".txt") and p.is_file())
        else:
            yield path


def messages(file: Path) -> list[tuple[str, bytes]]:
    """Return the messages of one file with their places; batch envelopes are taken off, line ends made CR."""
    content = file.read_bytes().replace(b"\x0b", b"").replace(b"\x1c", b"")
    text = _ENVELOPE.sub(
        b"", content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\r").replace(b"\n", b"\r").replace(b"\r", b"\n")
    )
    parts = [part.strip(b"\n").replace(b"\n", b"\r") + b"\r" for part in _START.split(text) if part[:3] == b"MSH"]
    return [(f"{file.name}#{n + 1}" if len(parts) > 1 else file.name, part) for n, part in enumerate(parts)]


def _context(authority: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    try:
        return sending(authority, certificate, key)
    except OSError as problem:
        raise typer.BadParameter(f"these certificates and keys cannot be used: {problem}") from problem


async def _send_all(found: list[tuple[str, bytes]], sender_of: Callable[[], Sender], connections: int) -> list[Sent]:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("Sending", total=len(found))
        done: list[Sent] = []
        queue = iter(found)

        async def one() -> None:
            sender = sender_of()
            for place, message in queue:
                done.append(await _send_one(sender, place, message))
                progress.advance(bar)
            await sender.close()

        await asyncio.gather(*(one() for _ in range(min(connections, len(found)))))
        return done


async def _send_one(sender: Sender, place: str, message: bytes) -> Sent:
    try:
        return Sent(place, *answered(await sender.send(message)))
    except NoAnswer as problem:
        return Sent(place, "none", str(problem))
    except (OSError, TimeoutError, ValueError) as problem:
        return Sent(place, "unsent", str(problem) or "the receiver did not take the connection in time")


def answered(answer: bytes) -> tuple[str, str]:
    """Return the code of an acknowledgement (`empty` or `unreadable` where it has none), and what is said with it."""
    head = header(answer)
    text = answer.decode(head.codec, "replace")
    for line in text.split("\r"):
        if line.startswith("MSA"):
            fields = [*line.split(head.delimiters.field), "", "", ""]
            return fields[1] or "empty", fields[3]
    return "unreadable", "the answer has no MSA segment"


def _summary(sent: list[Sent]) -> None:
    console = Console()
    table = Table("Acknowledgement", "Messages", title="Sent")
    for code, count in sorted(Counter(s.code for s in sent).items()):
        table.add_row(code, str(count))
    console.print(table)
    refused = [s for s in sent if s.code not in _ACCEPTED]
    for item in refused[:20]:
        console.print(f"{item.place}: {item.code} {item.text}", markup=False, highlight=False)
    if len(refused) > 20:
        console.print(f"… and {len(refused) - 20} more")
