"""Acknowledgements as the sender's version writes them: MSH, MSA and, for what went wrong, ERR.

HL7 v2.5.1 chapter 2.9 (original and enhanced mode), 2.15.5 (ERR), 2.15.8 (MSA):
https://www.hl7.org/implement/standards/product_brief.cfm?product_id=144
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from mappings.delimiters import Delimiters, escape
from mappings.header import Header, Problem

AckCode = Literal["AA", "AE", "AR", "CA", "CE", "CR"]
AckError = Problem
"""One error of an acknowledgement: location such as `PID-3[1].4`, code of HL7 table 0357, text, severity."""

_LOCATION = re.compile(
    r"(?P<segment>[A-Z][A-Z0-9]{2})(?:\[(?P<nth>\d+)\])?(?:-(?P<field>\d+)(?:\[(?P<repetition>\d+)\])?)?"
    r"(?:\.(?P<component>\d+)(?:\.(?P<subcomponent>\d+))?)?\Z"
)
_TEXTS = {
    "0": "Message accepted",
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "200": "Unsupported message type",
    "201": "Unsupported event code",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "205": "Duplicate key identifier",
    "206": "Application record locked",
    "207": "Application internal error",
}


def ack(header: Header, code: AckCode, control_id: str, now: datetime, errors: Sequence[AckError] = ()) -> bytes:
    """Return the acknowledgement of the message with this MSH, in its version, delimiters and character set.

    `control_id` is MSH-10 of the acknowledgement itself; `now` must know its time zone. A header that could not be read
    is answered in version 2.5.1 with an empty MSA-2.
    """
    version = _version(header.version)
    lines = [_msh(header, version, control_id, now), _msa(header, code, errors)]
    lines += _errors(header.delimiters, version, errors)
    return _encode("".join(line + "\r" for line in lines), header.codec)


def _msh(header: Header, version: tuple[int, ...], control_id: str, now: datetime) -> str:
    raw = header.raw
    echo = [raw[n] if n < len(raw) else "" for n in range(19)]
    marks = header.delimiters
    fields = ["MSH", marks.encoding, echo[5], echo[6], echo[3], echo[4], now.strftime("%Y%m%d%H%M%S%z"), ""]
    fields += [_type(header, version), escape(control_id, marks), echo[11] or "P", echo[12] or "2.5.1"]
    if echo[18] and version >= (2, 3):
        fields += ["", "", "", "", "", echo[18]]
    return marks.field.join(fields)


def _type(header: Header, version: tuple[int, ...]) -> str:
    """MSH-9: event and structure came with 2.3.1."""
    if not header.trigger or version < (2, 3, 1):
        return "ACK"
    mark = header.delimiters.component
    return f"ACK{mark}{escape(header.trigger, header.delimiters)}{mark}ACK"


def _msa(header: Header, code: AckCode, errors: Sequence[AckError]) -> str:
    """MSA-3 is the only place for text before ERR-8 came with 2.5, and still what people read."""
    marks = header.delimiters
    echoed = header.raw[10] if len(header.raw) > 10 else ""
    fields = ["MSA", code, echoed]
    if errors:
        fields.append(escape(errors[0].text[:80], marks))
    return marks.field.join(fields)


def _errors(marks: Delimiters, version: tuple[int, ...], errors: Sequence[AckError]) -> list[str]:
    if not errors:
        return []
    if version >= (2, 5):
        return [_err(marks, error) for error in errors]
    return ["ERR" + marks.field + marks.repetition.join(_eld(marks, error) for error in errors)]


def _err(marks: Delimiters, error: AckError) -> str:
    """ERR since 2.5: ERR-2 location, ERR-3 code, ERR-4 severity, ERR-8 text for people."""
    found = _LOCATION.match(error.location)
    where = _erl(found) if found else ""
    fields = ["ERR", "", where.replace("^", marks.component), _coded(marks, error, marks.component), error.severity]
    return marks.field.join([*fields, "", "", "", escape(error.text, marks)])


def _erl(found: re.Match[str]) -> str:
    parts = [found["segment"], found["nth"] or "1", found["field"] or ""]
    if found["field"]:
        parts += [found["repetition"] or "1", found["component"] or "", found["subcomponent"] or ""]
    return "^".join(parts).rstrip("^")


def _eld(marks: Delimiters, error: AckError) -> str:
    """ERR-1 before 2.5: segment ^ sequence ^ field ^ code, the code's parts as subcomponents."""
    found = _LOCATION.match(error.location)
    parts = [found["segment"], found["nth"] or "1", found["field"] or ""] if found else ["", "", ""]
    return marks.component.join([*parts, _coded(marks, error, marks.subcomponent)])


def _coded(marks: Delimiters, error: AckError, separator: str) -> str:
    return separator.join([escape(error.code, marks), escape(_TEXTS.get(error.code, ""), marks), "HL70357"])


def _version(text: str) -> tuple[int, ...]:
    """2.5.1 → (2, 5, 1); what is no version is answered as 2.5.1."""
    return tuple(int(part) for part in text.split(".")) if re.fullmatch(r"\d+(\.\d+)+", text) else (2, 5, 1)


def _encode(text: str, codec: str) -> bytes:
    r"""In the sender's character set; a character it lacks is spelled out as `\xe9`, never `?`."""
    return text.encode(codec, errors="backslashreplace")
