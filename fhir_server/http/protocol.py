"""HTTP connections under bounds: a head that is too large or too slow ends its connection; refusals are FHIR's.

https://www.rfc-editor.org/rfc/rfc6585#section-5
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from conformance.issue import Issue, outcome

_REASONS = {400: "Bad Request", 431: "Request Header Fields Too Large"}


class Bounded(HttpToolsProtocol):
    """uvicorn's protocol; the parser itself takes heads of any size, and waits for them for ever."""

    head_bytes: ClassVar[int]
    head_seconds: ClassVar[float]
    _size: int | None = 0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse a head that is not complete and larger than it may be."""
        if self._size is not None:
            self._size += len(data)
        super().data_received(data)
        if self._size is not None and self._size > self.head_bytes and not self.transport.is_closing():
            self._refuse(431, "too-long", f"the headers are larger than the {self.head_bytes} bytes that are taken")

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a head."""
        super().on_message_begin()
        if self._timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """Take the head as complete."""
        self._size = None
        self._stop()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Count the next head from its beginning."""
        super().on_message_complete()
        self._size = 0

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(400, "structure", msg)

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(self.head_seconds, self.transport.close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int, code: str, words: str) -> None:
        body = outcome([Issue("error", code, words)])
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: application/fhir+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def bounded(most: int, seconds: float) -> type[Bounded]:
    """Return the protocol for heads of at most about `most` bytes that come within `seconds`."""
    return type("BoundedProtocol", (Bounded,), {"head_bytes": most, "head_seconds": seconds})
