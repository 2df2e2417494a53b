"""The acknowledgement of a file, as a file: each batch answered by a batch of acknowledgements.

HL7 v2.5.1 chapter 2.10.3.3 (acknowledging batches), 2.15.2 (BHS), 2.15.3 (BTS), 2.15.6 (FHS) and 2.15.7 (FTS)
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mappings.batch import Header
from mappings.charset import decode
from mappings.delimiters import DEFAULT, Delimiters, declared, escape, usable_separator

_LONGEST = 1000


class Answer:
    """Writes the pieces of the file; `wide` is the codec of a file in UTF-16, `line_end` as in the file answered."""

    def __init__(self, now: datetime, wide: str = "", line_end: str = "\r") -> None:
        self._now = now
        self._wide = wide
        self._line_end = line_end or "\r"
        self._marks: dict[str, Delimiters] = {}

    def start(self) -> bytes:
        """Return what the file begins with."""
        return "\ufeff".encode(self._wide) if self._wide else b""

    def header(self, id_: Header, line: str, control_id: str) -> bytes:
        """Return FHS or BHS in answer to the one that stands there, `line` "" where there is none."""
        marks, given = _fields(line)
        self._marks[id_] = marks
        echo = [given[n] if n < len(given) else "" for n in range(12)]
        now = self._now.strftime("%Y%m%d%H%M%S%z")
        fields = [id_, marks.encoding, echo[5], echo[6], echo[3], echo[4], now, "", echo[9], "", control_id, echo[11]]
        return self._line(marks.field.join(fields))

    def message(self, ack: bytes) -> bytes:
        """Return an acknowledgement as it stands in the file."""
        text = decode(ack).text if self._wide else ack.decode("latin-1")
        return self._encoded(text.replace("\r", self._line_end))

    def trailer(self, id_: Header, count: int, remarks: Sequence[str]) -> bytes:
        """Return BTS or FTS that ends what `id_` began, with a comment."""
        marks = self._marks.get(id_, DEFAULT)
        name = "FTS" if id_ == "FHS" else "BTS"
        comment = escape("; ".join(remarks)[:_LONGEST], marks)
        return self._line(marks.field.join([name, str(count), comment] if comment else [name, str(count)]))

    def _line(self, text: str) -> bytes:
        return self._encoded(text + self._line_end)

    def _encoded(self, text: str) -> bytes:
        return text.encode(self._wide, "surrogatepass") if self._wide else text.encode("latin-1", "backslashreplace")


def _fields(line: str) -> tuple[Delimiters, list[str]]:
    """Return the delimiters of a header and its fields, such that the third is FHS-3."""
    if len(line) < 5:
        return DEFAULT, []
    separator = usable_separator(line[3])
    fields = [line[:3], separator, *line[4:].split(separator)]
    return declared(separator, fields[2]), fields
