"""What is told of a file: a batch of acknowledgements for each batch, and whether all of it went well.

HL7 v2.5.1 chapter 2.10.3.3
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from mappings.batch import Header
from mappings.batch_ack import Answer


class FileReport:
    """Writes the report piece by piece; `good` tells at any time whether all went well so far."""

    def __init__(
        self, write: Callable[[bytes], None], now: datetime, new_id: Callable[[], str], wide: str, line_end: str
    ) -> None:
        self._write = write
        self._answer = Answer(now, wide, line_end)
        self._new_id = new_id
        self._open: list[Header] = []
        self._remarks: list[str] = []
        self._messages = self._refused = self._known = self._batches = 0
        self.total = 0
        self.good = True
        write(self._answer.start())

    def opened(self, header: Header, line: str) -> None:
        """Answer FHS or BHS; what is still open is closed before."""
        while self._open and (header == "FHS" or self._open[-1] == "BHS"):
            self.closed()
        if header == "BHS":
            self._batches += 1
            self._messages = self._refused = self._known = 0
        else:
            self._batches = 0
        self._write(self._answer.header(header, line, self._new_id()))
        self._open.append(header)

    def acknowledged(self, ack: bytes | None, *, refused: bool, known: bool) -> None:
        """Add what is answered to a message; None where its sender wants no answer."""
        if not self._open or self._open[-1] == "FHS":
            self.opened("BHS", "")
        self.total += 1
        self._messages += 1
        self._refused += refused
        self._known += known
        self.good = self.good and not refused
        if ack is not None:
            self._write(self._answer.message(ack))

    def wrong(self, text: str) -> None:
        """Tell what does not add up, in the next trailer."""
        self.good = False
        self._remarks.append(text)

    def closed(self) -> None:
        """Write the trailer of what was opened last."""
        header = self._open.pop()
        remarks, self._remarks = self._remarks, []
        if header == "BHS":
            told = [f"{self._messages} messages, {self._refused} refused, {self._known} known before"]
            self._write(self._answer.trailer("BHS", self._messages, told + remarks))
        else:
            self._write(self._answer.trailer("FHS", self._batches, remarks))

    def ended(self, trailer: str) -> None:
        """Answer BTS or FTS where it belongs to something that is open."""
        wanted: Header = "BHS" if trailer == "BTS" else "FHS"
        while wanted in self._open:
            last = self._open[-1]
            self.closed()
            if last == wanted:
                return

    def finish(self) -> None:
        """Close what is open; a file in which there was nothing gets a batch without messages."""
        if not self.total:
            self.wrong("there is no message in this file")
        if not self._open and (self._remarks or not self._batches):
            self.opened("BHS", "")
        while self._open:
            self.closed()
