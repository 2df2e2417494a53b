"""What the MSH alone says: enough to accept or refuse a message, to find its channel, and to acknowledge it.

HL7 v2.5.1 chapter 2.15.9: https://www.hl7.org/implement/standards/product_brief.cfm?product_id=144
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from mappings.charset import codec_for, decode
from mappings.delimiters import DEFAULT, Delimiters, declared, unescape, usable_separator

Severity = Literal["E", "W", "I"]


class Problem(msgspec.Struct, frozen=True):
    """What is wrong, as ERR reports it: `location` like `PID-3[1].4`, `code` from HL7 table 0357."""

    location: str
    code: str
    text: str
    severity: Severity = "E"


class Header(msgspec.Struct, frozen=True):
    """The MSH; every value is "" where it is absent. `raw[n]` is MSH-n as sent, `codec` a Python codec."""

    raw: tuple[str, ...]
    delimiters: Delimiters
    codec: str
    sender_app: str = ""
    sender_facility: str = ""
    receiver_app: str = ""
    receiver_facility: str = ""
    timestamp: str = ""
    message_type: str = ""
    trigger: str = ""
    structure: str = ""
    control_id: str = ""
    processing_id: str = ""
    version: str = ""
    accept_ack: str = ""
    application_ack: str = ""
    charset: str = ""
    problems: tuple[Problem, ...] = ()


_VERSION = re.compile(r"2(\.\d+)+\Z")


def header(data: bytes, charset: str = "") -> Header:
    """Read the MSH and nothing else. Never raises: what is wrong stands in `problems`.

    `charset`, as in MSH-18, comes before what the message declares.
    """
    line, codec = _line(data, charset)
    if line[:3] != "MSH" or len(line) < 5:
        return Header((), DEFAULT, codec, problems=(Problem("MSH", "100", "the message does not begin with MSH"),))
    separator = usable_separator(line[3])
    fields = ["MSH", separator, *line[4:].split(separator)]
    delimiters = declared(separator, fields[2])
    values = _values(fields, delimiters)
    return Header(tuple(fields), delimiters, codec, **values, problems=_problems(fields, values))


def _line(data: bytes, charset: str) -> tuple[str, str]:
    """The first line as text, and the codec it was read with."""
    head = data[:8192].lstrip(b" \t\r\n\x0b")
    if head[:3] != b"MSH" or head[3:4] == b"\0":
        text, codec, _ = decode(data, override=charset)
        return re.split(r"[\r\n]", text.lstrip("\ufeff \t\r\n\x0b"), maxsplit=1)[0], codec
    first = re.split(rb"[\r\n]", head, maxsplit=1)[0]
    fields = first.split(first[3:4] or b"|", 18)
    declared_set = charset or (fields[17].decode("latin-1") if len(fields) > 17 else "")
    codec = (codec_for(declared_set.split("~")[0]) if declared_set else None) or "ascii"
    if first.isascii() and codec.startswith(("utf-16", "utf-32")):
        return first.decode("ascii"), "ascii"  # it says so, and does not do so
    if first.isascii() and not codec.startswith(("utf-16", "utf-32", "iso2022")):
        return first.decode("ascii"), codec
    decoded = decode(first, override=charset)
    return decoded.text, decoded.charset if not first.isascii() else codec


def _values(fields: list[str], delimiters: Delimiters) -> dict[str, str]:
    def part(number: int, component: int = 0) -> str:
        if number >= len(fields) or not fields[number]:
            return ""
        parts = fields[number].split(delimiters.repetition, 1)[0].split(delimiters.component)
        return unescape(parts[component], delimiters).strip() if component < len(parts) else ""

    return {
        "sender_app": part(3) or part(3, 1),
        "sender_facility": part(4) or part(4, 1),
        "receiver_app": part(5) or part(5, 1),
        "receiver_facility": part(6) or part(6, 1),
        "timestamp": part(7),
        "message_type": part(9),
        "trigger": part(9, 1),
        "structure": part(9, 2),
        "control_id": part(10),
        "processing_id": part(11),
        "version": part(12),
        "accept_ack": part(15),
        "application_ack": part(16),
        "charset": part(18),
    }


def _problems(fields: list[str], values: dict[str, str]) -> tuple[Problem, ...]:
    found = []
    if not values["message_type"]:
        found.append(Problem("MSH-9.1", "101", "MSH-9 names no message type"))
    if not values["control_id"]:
        found.append(Problem("MSH-10", "101", "MSH-10 names no control id: a resend cannot be recognised", "W"))
    if len(set(fields[2][:4])) < min(len(fields[2]), 4) or fields[1] in fields[2]:
        found.append(Problem("MSH-2", "102", f"MSH-2 {fields[2]!r} uses a delimiter twice", "W"))
    if not _VERSION.match(values["version"]):
        found.append(Problem("MSH-12", "203", f"MSH-12 {values['version']!r} is not a version of HL7 v2", "W"))
    return tuple(found)
