"""concord simulate: the messages of a hospital that is not there, sent at a rate or written to files."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from adapters.careless import Manners
from fhir_server.clock import clock
from fhir_server.commands.simulating import Tally, Target, told, transmit, write
from fhir_server.simulator.habits import Habits, carelessly
from fhir_server.simulator.life import TYPES
from fhir_server.simulator.segments import Writing
from fhir_server.simulator.stream import Simulated, stream

_DENSE = 0.01  # seconds between the times in messages that are sent as fast as they go
_PIECE = 7  # bytes at a time, for a sender that splits its frames


def _share(text: str) -> object:
    return typer.Option(help=f"Share of the messages, 0 to 1, that {text}.", min=0, max=1)


def simulate(
    host: Annotated[str, typer.Option(help="Where the MLLP receiver is.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Its port.", min=1, max=65535)] = 2575,
    out: Annotated[Path | None, typer.Option(help="Write the messages into this folder; nothing is sent.")] = None,
    count: Annotated[int, typer.Option(help="Messages to send; 0: until Ctrl-C.", min=0)] = 100,
    rate: Annotated[float, typer.Option(help="Messages a second; 0: as fast as they are answered.", min=0)] = 10.0,
    types: Annotated[str, typer.Option(help="Which messages, with commas between.")] = ",".join(TYPES),
    patients: Annotated[int, typer.Option(help="How many people they are about.", min=1)] = 100,
    connections: Annotated[int, typer.Option(help="Connections; each person keeps to one of them.", min=1)] = 1,
    seed: Annotated[int | None, typer.Option(help="The same seed and --start give the same messages.", min=0)] = None,
    start: Annotated[
        datetime | None, typer.Option(help="Time of the first message, in --zone; now, if left out.")
    ] = None,
    zone: Annotated[str, typer.Option(help="IANA time zone of the hospital.")] = "UTC",
    app: Annotated[str, typer.Option(help="MSH-3 of the messages.")] = "SIM",
    facility: Annotated[str, typer.Option(help="MSH-4 of the messages.")] = "SIM",
    processing_id: Annotated[str, typer.Option(help="MSH-11: T says that they are no real ones.")] = "T",
    tls: Annotated[bool, typer.Option("--tls", help="Connect by TLS; the receiver's certificate is verified.")] = False,
    ca: Annotated[Path | None, typer.Option(help="PEM file of the authority of its certificate.", exists=True)] = None,
    cert: Annotated[Path | None, typer.Option(help="Our certificate, PEM, for mutual TLS.", exists=True)] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, PEM.", exists=True)] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for each acknowledgement.", min=0.1)] = 30.0,
    duplicates: Annotated[float, _share("are sent twice")] = 0.0,
    out_of_order: Annotated[float, _share("come too late, behind newer ones")] = 0.0,
    wrong_charset: Annotated[float, _share("are in Latin-1 while MSH-18 says UTF-8")] = 0.0,
    reused_ids: Annotated[float, _share("carry the control id of the one before")] = 0.0,
    missing_zone: Annotated[bool, typer.Option("--missing-zone", help="Times do not tell their zone.")] = False,
    line_feeds: Annotated[bool, typer.Option("--line-feeds", help="Segments end with LF instead of CR.")] = False,
    split_frames: Annotated[bool, typer.Option("--split-frames", help=f"Write {_PIECE} bytes at a time.")] = False,
    no_cr: Annotated[bool, typer.Option("--no-cr", help="Frames end without the CR behind FS.")] = False,
    junk: Annotated[bool, typer.Option("--junk", help="Bytes that are no message stand before each frame.")] = False,
    record: Annotated[Path | None, typer.Option(help="File for a line of JSON for each message sent.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Tell the summary as one line of JSON.")] = False,
) -> None:
    """Send invented ADT, ORU, ORM, SIU, MDM and DFT messages, each person's coherent over time.

    Nobody's data is in them: names, numbers and results are made up, MSH-11 says T and MSH-4 SIM unless told otherwise.
    Exit status 1 if a message got no acknowledgement.
    """
    seed = secrets.randbelow(1 << 31) if seed is None else seed
    writing = Writing(app=app, facility=facility, processing_id=processing_id, zones=not missing_zone)
    habits = Habits(
        duplicates=duplicates, out_of_order=out_of_order, wrong_charset=wrong_charset, reused_ids=reused_ids,
        line_feeds=line_feeds,
    )  # fmt: skip
    between = timedelta(seconds=1 / rate if rate else _DENSE)
    wanted = tuple(name for name in types.upper().replace(" ", "").split(",") if name)
    messages = _messages(_start(start, zone), seed, patients, wanted, writing, between, habits, count)
    tally = Tally(seed)
    if out is not None:
        write(messages, out, tally)
    else:
        manners = Manners(_PIECE if split_frames else 0, no_cr, junk)
        where = Target(host, port, manners, timeout, tls, ca, cert, key)
        _send(messages, where, connections, rate, count, tally, record)
    told(tally, as_json=as_json)
    raise typer.Exit(1 if tally.unanswered else 0)


def _messages(
    start: datetime, seed: int, patients: int, types: tuple[str, ...], writing: Writing, between: timedelta,
    habits: Habits, count: int,
) -> Iterator[Simulated]:  # fmt: skip
    try:
        made = stream(start, seed=seed, patients=patients, types=types, writing=writing, between=between)
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from None
    return carelessly(islice(made, count or None), habits, Random(seed + 1))


def _start(given: datetime | None, zone: str) -> datetime:
    try:
        place = ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise typer.BadParameter(f"{zone[:80]!r} is no IANA time zone") from None
    return given.replace(tzinfo=place) if given else clock(None)().astimezone(place)


def _send(
    messages: Iterator[Simulated], where: Target, connections: int, rate: float, count: int, tally: Tally,
    record: Path | None,
) -> None:  # fmt: skip
    try:
        asyncio.run(transmit(messages, where, connections, rate, count, tally, record))
    except KeyboardInterrupt:
        tally.stopped = True
