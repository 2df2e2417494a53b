"""Messages whose documents stand in the object store: what stays of them, and how they are put together again.

Their bytes in the inbox hold what stays and where the documents belong, sealed together. An older program does not take
them for a whole message: their codec and their first byte are unknown to it.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import msgspec

from fhir_server.errors import Unreadable
from fhir_server.store.database import Tx
from fhir_server.store.objects import Content, Objects

LIFTED = 2
_HEAD = bytes((LIFTED,))


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """A part of a document's text: an object, or the base64 of one (`coded`)."""

    key: bytes
    size: int
    coded: bool

    @property
    def content(self) -> Content:
        """Return the object."""
        return Content(self.key, self.size)


class Lifted(msgspec.Struct, frozen=True, array_like=True):
    """A document that stood in front of byte `at` of what stays; `encoding` is ED.4, `tail` the end of its text.

    `sha1` and `begins`, its first bytes, are known where the whole text is the base64 of one object.
    """

    at: int
    encoding: str
    pieces: tuple[Piece, ...]
    tail: bytes = b""
    sha1: bytes = b""
    begins: bytes = b""

    @property
    def length(self) -> int:
        """Return how many bytes its text had in the message."""
        return sum(-(-p.size // 3) * 4 if p.coded else p.size for p in self.pieces) + len(self.tail)

    @property
    def whole(self) -> Content | None:
        """Return the object that is this document, None where its text has to be read for it."""
        return self.pieces[0].content if self.sha1 else None


class Parts(msgspec.Struct, frozen=True, array_like=True):
    """What the inbox holds of such a message."""

    raw: bytes
    lifted: tuple[Lifted, ...]


_decoder = msgspec.msgpack.Decoder(Parts)


def packed(raw: bytes, lifted: Sequence[Lifted]) -> bytes:
    """Return what is sealed."""
    return msgspec.msgpack.encode(Parts(raw, tuple(lifted)))


def unpacked(data: bytes) -> Parts:
    """Return what was packed."""
    return _decoder.decode(data)


def headed(sealed: bytes) -> bytes:
    """Return what is sealed as the inbox stores it."""
    return _HEAD + sealed


def beheaded(stored: bytes) -> bytes:
    """Return what is sealed of what is stored. Raises Unreadable."""
    if stored[:1] != _HEAD:
        raise Unreadable("a message with documents is not stored as this program does it")
    return stored[1:]


async def text(objects: Objects, tenant_id: int, one: Lifted) -> AsyncIterator[bytes]:
    """Return the text of a document as it stood in the message, in pieces. Raises Busy, Unreadable."""
    for piece in one.pieces:
        stored = objects.stream(tenant_id, piece.content, 0, piece.size)
        async for data in _coded(stored) if piece.coded else stored:
            yield data
    if one.tail:
        yield one.tail


async def whole(
    objects: Objects, tenant_id: int, raw: bytes, lifted: Sequence[Lifted], content_hash: bytes
) -> AsyncIterator[bytes]:
    """Return a message as it came, in pieces; raise Unreadable at the end where it is not what it was."""
    digest, at = hashlib.sha256(), 0
    for one in lifted:
        if one.at > at:
            digest.update(raw[at : one.at])
            yield raw[at : one.at]
        at = one.at
        async for data in text(objects, tenant_id, one):
            digest.update(data)
            yield data
    digest.update(raw[at:])
    yield raw[at:]
    if digest.digest() != content_hash:
        raise Unreadable("a message is not put together as it came")


async def _coded(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    left = b""
    async for data in content:
        data = left + data
        size = len(data) // 3 * 3
        left = data[size:]
        yield binascii.b2a_base64(data[:size], newline=False)
    if left:
        yield binascii.b2a_base64(left, newline=False)


# Touching them keeps a sweep away that has looked already; the rows of the message do so from the commit on.
_TOUCH = "update binary_object set touched = %s where tenant_id = %s and key = any(%s::bytea[]) returning key"
HOLD = "insert into message_object (tenant_id, key, received, message_id) values (%s, %s, %s, %s)"


def keys_of(lifted: Sequence[Lifted]) -> list[bytes]:
    """Return the names of the objects, once each."""
    return sorted({piece.key for one in lifted for piece in one.pieces})


async def touch(tx: Tx, keys: Sequence[bytes], now: datetime) -> bool:
    """Keep objects from being swept until the transaction ends; tell whether all are known."""
    rows = await tx.fetch(_TOUCH, (now, tx.tenant_id, sorted(set(keys))))
    return len(rows) == len(set(keys))
