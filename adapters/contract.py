"""What adapters and their users hold in common: small values and the shapes of callbacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a peer has proven to have the key of: `sha256:…` of the certificate, and that with all names in it.

    A name has its kind before it: `dns:lab.example`, `cn:Northlab`, `subject:CN=Northlab,O=…` (certificates.py).
    """

    fingerprint: str
    marks: frozenset[str]


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection, as the operating system names it, and what it has proven to be.

    `door` is the port that it came to, where that is not the shared one of its kind; `client` is who an access token
    was given to.
    """

    host: str
    port: int
    door: int | None = None
    tls: bool = False
    certificate: Certificate | None = None
    client: str | None = None

    def __str__(self) -> str:
        where = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        if self.certificate:
            return f"{where} {self.certificate.fingerprint}"
        return f"{self.host} client {self.client}" if self.client else where


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


class Intake(Protocol):
    """Takes one message that is too large to be held, as it arrives. What it raises closes the connection."""

    async def feed(self, data: bytes, /) -> None:
        """Take the next piece; return once another may come."""

    async def end(self, data: bytes, /) -> bytes | None:
        """Take the last piece of a whole message; return the answer, or None for no answer."""

    async def give_up(self, reason: str, size: int, /) -> bytes | None:
        """Learn that no end will come, as a FaultHandler does: the pieces up to here were `size` bytes, or more."""

    def drop(self) -> None:
        """Forget it: the connection is gone. Nothing else is called afterwards."""


class IntakeHandler(Protocol):
    """Begins to take a message that comes in pieces."""

    def __call__(self, peer: Peer, /) -> Intake: ...
