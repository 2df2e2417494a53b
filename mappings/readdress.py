"""A message with fields of its MSH written anew, as it goes on to another receiver.

HL7 v2.5.1 chapter 2.15.9 (MSH)
"""

from __future__ import annotations

from collections.abc import Mapping

from mappings.hl7v2 import Message, decode, parse


def readdressed(data: bytes, fields: Mapping[int, str]) -> bytes:
    """Return a message with fields of its MSH, by number, written anew, and every other byte as it was.

    Values are HL7 with the usual delimiters: those of the message take their place.

    >>> readdressed(b"MSH|^~\\\\&|LAB|NORTH|A|B|1\\rPID|1\\r", {5: "EHR", 11: "T"})
    b'MSH|^~\\\\&|LAB|NORTH|EHR|B|1||||T\\rPID|1\\r'
    """
    decoded = decode(data)
    message = parse(decoded.text)
    head = message.first("MSH")
    if head is None or not fields:
        return data
    there = head.fields
    there += [""] * (max(fields) + 1 - len(there))
    for number, value in fields.items():
        there[number] = _delimited(value, message)
    return message.encode().encode(decoded.charset, "backslashreplace")


def _delimited(value: str, message: Message) -> str:
    marks = message.delimiters
    return value.replace("^", marks.component).replace("&", marks.subcomponent)
