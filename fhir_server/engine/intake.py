"""A message that is too large to be held, as it arrives: its documents go to the object store, the rest is kept.

HL7 v2.5.1 chapter 2.9: it is acknowledged once it and its documents are durable, as any other message is
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Protocol

import msgspec
import structlog

from adapters.contract import Peer
from fhir_server.engine.channel import Channel
from fhir_server.errors import FhirError
from fhir_server.store.lifted import Lifted, Piece
from fhir_server.store.objects import Content, Objects
from mappings.header import Header
from mappings.lifting import Base64, Begin, Data, End, Event, Lifter, Text

log = structlog.get_logger(__name__)
_BEGINNING = 64
_KEPT = 1024


class Bounds(msgspec.Struct, frozen=True):
    """What is taken of one large message, in bytes: `text` of what is no document, `document` of each as it is sent.

    A document of `least` bytes and more goes to the object store, at most `documents` of them. `together` messages are
    taken at one time; others wait.
    """

    least: int = 16 << 10
    text: int = 16 << 20
    document: int = 128 << 20
    documents: int = 100
    together: int = 8


class Taken(msgspec.Struct, frozen=True):
    """A large message that has come whole."""

    raw: bytes
    lifted: tuple[Lifted, ...]
    content_hash: bytes


class Door(Protocol):
    """What decides on a message; the Receiver does."""

    def judged(self, data: bytes, peer: Peer) -> tuple[Header, Channel]:
        """Return the MSH at the beginning of a message, and its channel."""

    async def take(self, taken: Taken, peer: Peer) -> bytes | None:
        """Make a message durable and return its acknowledgement."""

    async def fault(self, reason: str, data: bytes, size: int, peer: Peer) -> bytes | None:
        """Keep the beginning of what is no message, and return what its sender is told."""

    def unstored(self, data: bytes, peer: Peer) -> bytes | None:
        """Return what the sender of a message is told that could not be stored."""


class _Refused(Exception):
    """The message is larger than may be, by the name of the fault."""


class Large:
    """One such message; see adapters.contract.Intake."""

    def __init__(
        self,
        door: Door,
        objects: Objects,
        bounds: Bounds,
        places: asyncio.Semaphore,
        clock: Callable[[], datetime],
        peer: Peer,
    ) -> None:
        self._door, self._objects, self._bounds, self._clock, self._peer = door, objects, bounds, clock, peer
        self._places = places
        self._inside = False
        self._lifter = Lifter(bounds.least)
        self._text = bytearray()
        self._digest = hashlib.sha256()
        self._size = 0
        self._lifted: list[Lifted] = []
        self._document: _Document | None = None
        self._problem: Exception | None = None

    async def feed(self, data: bytes) -> None:
        """Take the next piece."""
        if not self._inside:
            await self._places.acquire()
            self._inside = True
        self._size += len(data)
        if self._problem is None:
            await self._take(self._lifter.feed(data), data)

    async def end(self, data: bytes) -> bytes | None:
        """Take the last piece, have all of it durable, and return the acknowledgement."""
        await self.feed(data)
        if self._problem is None:
            await self._take(self._lifter.end(), b"")
        if self._problem is not None:
            return await self._failed(self._problem)
        taken = Taken(bytes(self._text), tuple(self._lifted), self._digest.digest())
        answer = await self._door.take(taken, self._peer)
        self.drop()
        return answer

    async def give_up(self, reason: str, size: int) -> bytes | None:
        """Keep what a message that has no end began with."""
        beginning = bytes(self._text[:_KEPT])
        self.drop()
        return await self._door.fault(reason, beginning, size, self._peer)

    def drop(self) -> None:
        """Let go of what is under way."""
        self._forget()
        if self._inside:
            self._places.release()
            self._inside = False

    def _forget(self) -> None:
        if self._document is not None:
            self._document.drop()
            self._document = None

    async def _failed(self, problem: Exception) -> bytes | None:
        if isinstance(problem, _Refused):
            return await self.give_up(str(problem), self._size)
        log.error("a large message was not stored", error=type(problem).__name__)
        answer = self._door.unstored(bytes(self._text[:_KEPT]), self._peer)
        self.drop()
        return answer

    async def _take(self, events: list[Event], data: bytes) -> None:
        self._digest.update(data)
        try:
            for event in events:
                await self._one(event)
        except (_Refused, FhirError) as problem:
            self._problem = problem
            del self._text[_KEPT:]
            self._forget()

    async def _one(self, event: Event) -> None:
        match event:
            case Text(data):
                self._text += data
                if len(self._text) > self._bounds.text:
                    raise _Refused("too-large")
            case Begin(encoding):
                if len(self._lifted) >= self._bounds.documents:
                    raise _Refused("too-many-documents")
                channel = self._door.judged(bytes(self._text), self._peer)[1]
                at = (self._objects, channel.tenant.id, self._clock())
                self._document = _Document(len(self._text), encoding, self._bounds.document, *at)
            case Data(data) if self._document:
                await self._document.feed(data)
            case End() if self._document:
                self._lifted.append(await self._document.end())
                self._document = None


class _Document:
    """A document that is being written: as what its base64 means, or as it stands in the message."""

    def __init__(self, at: int, encoding: str, most: int, objects: Objects, tenant_id: int, now: datetime) -> None:
        self._at, self._encoding, self._left = at, encoding, most
        self._place = (objects, tenant_id, now)
        self._base64 = Base64() if encoding == "BASE64" else None
        self._pieces: list[Piece] = []
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._begins = b""
        self._writing: _Writing | None = None

    async def feed(self, text: bytes) -> None:
        self._left -= len(text)
        if self._left < 0:
            raise _Refused("document-too-large")
        if self._base64 is not None:
            content = self._base64.feed(text)
            if content is not None:
                self._sha1.update(content)
                self._begins += content[: _BEGINNING - len(self._begins)]
                await self._write(content)
                return
            text, self._base64 = self._base64.left, None
            await self._written(coded=True)
        await self._write(text)

    async def end(self) -> Lifted:
        tail = self._base64.left if self._base64 else b""
        await self._written(coded=self._base64 is not None)
        known = (
            (self._sha1.digest(), self._begins) if self._base64 and not tail and len(self._pieces) == 1 else (b"", b"")
        )
        return Lifted(self._at, self._encoding, tuple(self._pieces), tail, *known)

    def drop(self) -> None:
        if self._writing is not None:
            self._writing.drop()

    async def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._writing is None:
            self._writing = _Writing(*self._place)
        await self._writing.put(data)

    async def _written(self, *, coded: bool) -> None:
        """End the object that is being written, if any is."""
        if self._writing is not None:
            content = await self._writing.end()
            self._pieces.append(Piece(content.key, content.size, coded))
            self._writing = None


class _Dropped(Exception):
    """Ends what is being written, of which nothing is to stay."""


class _Writing:
    """An object that is written while its bytes come."""

    def __init__(self, objects: Objects, tenant_id: int, now: datetime) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._dropped = False
        self._task = asyncio.create_task(objects.keep(tenant_id, self._chunks(), now))
        self._task.add_done_callback(_seen)

    async def put(self, data: bytes | None) -> None:
        """Hand on some bytes; None for the end. Raises what the store raised."""
        putting = asyncio.ensure_future(self._queue.put(data))
        try:
            await asyncio.wait({putting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stuck = putting.cancel()
        if stuck:
            await self._task

    async def end(self) -> Content:
        """Return the object once it is durable."""
        await self.put(None)
        return await self._task

    def drop(self) -> None:
        """End it without a trace: the store must not be left waiting for what will not come."""
        self._dropped = True
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def _chunks(self) -> AsyncIterator[bytes]:
        while (data := await self._queue.get()) is not None:
            yield data
        if self._dropped:
            raise _Dropped


def _seen(task: asyncio.Task[Content]) -> None:
    """Look at the failure of what nobody waits for any more."""
    if not task.cancelled():
        task.exception()
