"""A document encrypted in chunks, so that it is written and read in pieces, from anywhere, with little memory.

https://eprint.iacr.org/2015/189 (STREAM)

Head (codec, number of the data key, salt), then chunks of 64 KiB, each with its tag, then a seal. Every document has a
key of its own, made of the tenant's data key and the salt. A chunk's nonce is its number and whether it is the last:
chunks cannot be moved, left out or cut off. The seal binds all to the name of the object, which is known at the end.
"""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator, Iterator

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fhir_server.errors import Unreadable
from fhir_server.store.keyring import SEALED, Keyring

CHUNK = 1 << 16
_TAG = 16
_SALT = 16
_HEAD = struct.Struct(f"!BI{_SALT}s")
HEAD = _HEAD.size
_SEAL_NONCE = b"\xff" * 12


class Layout(msgspec.Struct, frozen=True):
    """Where the parts of a document of so many bytes stand."""

    size: int

    @property
    def chunks(self) -> int:
        """Return how many chunks there are: one at least."""
        return max(1, -(-self.size // CHUNK))

    @property
    def seal(self) -> int:
        """Return where the seal begins."""
        return HEAD + self.size + self.chunks * _TAG

    @property
    def whole(self) -> int:
        """Return the size of all."""
        return self.seal + _TAG

    def span(self, start: int, end: int) -> tuple[int, int, int]:
        """Return the first chunk of these bytes, and where the chunks that hold them begin and end."""
        first, last = start // CHUNK, max(end - 1, 0) // CHUNK
        return first, HEAD + first * (CHUNK + _TAG), min(HEAD + (last + 1) * (CHUNK + _TAG), self.seal)


class Sealer:
    """Seals a document whose tenant's key is ready: `piece` for each part of it, then `end`."""

    def __init__(self, keyring: Keyring, tenant_id: int) -> None:
        number, salt = keyring.newest(tenant_id), os.urandom(_SALT)
        self._key = keyring.derived(tenant_id, number, salt)
        self._head = _HEAD.pack(SEALED, number, salt)
        self._rest = bytearray()
        self._number = 0

    def start(self) -> bytes:
        """Return what stands first."""
        return self._head

    def piece(self, data: bytes) -> Iterator[bytes]:
        """Return the chunks that are full; one is kept, which may be the last."""
        self._rest += data
        while len(self._rest) > CHUNK:
            yield self._sealed(bytes(self._rest[:CHUNK]), last=False)
            del self._rest[:CHUNK]

    def end(self) -> bytes:
        """Return the last chunk."""
        return self._sealed(bytes(self._rest), last=True)

    def seal(self, name: bytes) -> bytes:
        """Return the seal: it binds what was sealed to the name of its object."""
        return self._key.encrypt(_SEAL_NONCE, b"", self._head + name)

    def _sealed(self, data: bytes, *, last: bool) -> bytes:
        self._number += 1
        return self._key.encrypt(_nonce(self._number - 1, last), data, self._head)


class Opener:
    """Opens a document by its head and seal, which must be those of the object's name. Raises Unreadable."""

    def __init__(self, keyring: Keyring, tenant_id: int, name: bytes, head: bytes, seal: bytes) -> None:
        codec, number, salt = _HEAD.unpack(head)
        if codec != SEALED:
            raise Unreadable("a document is neither plain nor encrypted as this program does it")
        self._key: AESGCM = keyring.derived(tenant_id, number, salt)
        self._head = head
        self._decrypted(_SEAL_NONCE, seal, head + name)

    async def opened(self, stored: AsyncIterator[bytes], layout: Layout, start: int, end: int) -> AsyncIterator[bytes]:
        """Return the bytes from `start` up to `end`; `stored` gives the chunks of them, in pieces of any size."""
        number, _, _ = layout.span(start, end)
        rest = bytearray()
        async for piece in stored:
            rest += piece
            while number < layout.chunks - 1 and len(rest) >= CHUNK + _TAG:
                data = self._chunk(number, bytes(rest[: CHUNK + _TAG]), last=False)
                del rest[: CHUNK + _TAG]
                yield data[max(start - number * CHUNK, 0) : end - number * CHUNK]
                number += 1
        if number * CHUNK < end:
            data = self._chunk(number, bytes(rest), last=number == layout.chunks - 1)
            yield data[max(start - number * CHUNK, 0) : end - number * CHUNK]

    def _chunk(self, number: int, stored: bytes, *, last: bool) -> bytes:
        return self._decrypted(_nonce(number, last), stored, self._head)

    def _decrypted(self, nonce: bytes, stored: bytes, bound: bytes) -> bytes:
        try:
            return self._key.decrypt(nonce, stored, bound)
        except InvalidTag:
            raise Unreadable("a document was changed, cut off, or moved from another place") from None


def number_of(head: bytes) -> int:
    """Return the number of the data key that a head names."""
    number: int = _HEAD.unpack(head)[1]
    return number


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes((last,))
