"""Documents as they are stored, encrypted or not, copied out of the object store into files and back."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import msgspec
import obstore

from fhir_server.errors import Busy
from fhir_server.store.objects import both, opened_store, passing

_PIECE = 1 << 20
_PART = 5 << 20


class Copied(msgspec.Struct, frozen=True):
    """A document of a backup: where it stands in the store, and what is there."""

    path: str
    bytes: int
    sha256: str


class Copier:
    """Copies from or into the store of a URL, which is opened with the first copy."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def out(self, tenant_id: int, key: bytes, folder: Path) -> Copied:
        """Write a document into a file under a folder. Raises Busy where the store does not have it."""
        store = opened_store(self._url)
        for path in both(tenant_id, key):
            try:
                found = await passing(obstore.get_async(store, path))
            except FileNotFoundError:
                continue
            file = folder / path
            await asyncio.to_thread(file.parent.mkdir, parents=True, exist_ok=True)
            digest, size = hashlib.sha256(), 0
            with file.open("wb") as out:
                async for piece in found.stream(min_chunk_size=_PIECE):
                    data = bytes(piece)
                    digest.update(data)
                    size += len(data)
                    await asyncio.to_thread(out.write, data)
            return Copied(path, size, digest.hexdigest())
        raise Busy(f"document {key.hex()} of tenant {tenant_id} is not in the object store")

    async def into(self, copied: Copied, folder: Path) -> None:
        """Write a document back, and read it again: raises Busy where the store does not give what it was given."""
        store = opened_store(self._url)
        await passing(obstore.put_async(store, copied.path, folder / copied.path, chunk_size=_PART, max_concurrency=2))
        found = await passing(obstore.get_async(store, copied.path))
        digest = hashlib.sha256()
        async for piece in found.stream(min_chunk_size=_PIECE):
            digest.update(bytes(piece))
        if digest.hexdigest() != copied.sha256:
            raise Busy(f"document {copied.path} is not in the object store as it was written")
