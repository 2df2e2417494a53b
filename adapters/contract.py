"""What adapters and their users hold in common: small values and the shapes of callbacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection, as the operating system names it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Handler(Protocol):
    """Takes one whole message and returns the answer to send back, or None for no answer.

    A listener calls it for the messages of one connection one after another, for many connections at once. Whatever it
    raises closes that connection without an answer, so that the sender may send again.
    """

    async def __call__(self, message: bytes, peer: Peer, /) -> bytes | None: ...


class FaultHandler(Protocol):
    """Takes bytes that are no message: `reason` is a word of the protocol, `data` their beginning, `size` their count.

    Returns the answer to send back, or None for none.
    """

    async def __call__(self, reason: str, data: bytes, size: int, peer: Peer, /) -> bytes | None: ...
