"""Contents of Binaries, kept as objects in a folder or in an S3-compatible store. docs/adr tells of the layout.

https://developmentseed.org/obstore/

An object is named by the keyed hash of its tenant and content, so that the same content twice is one object and a
repeated request changes nothing. A row announces it before it is written, and the transaction of the resource that
needs it marks the row as used: what is announced and never used is an orphan, which `sweep` takes away. A message holds
its documents by rows of message_object, for as long as it is kept.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit
from urllib.request import url2pathname

import msgspec
import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from fhir_server.errors import Busy, Unreadable
from fhir_server.store.database import Database, Tx
from fhir_server.store.object_seal import HEAD, Layout, Opener, Sealer, number_of

Store: TypeAlias = LocalStore | S3Store
# Content up to this size is held in memory and written at once; larger content is streamed under another name first,
# since its own is known only at its end.
_WHOLE = 1 << 20
# S3 takes no smaller parts.
_PART = 5 << 20
_INCOMING = "incoming"
# Ends the name of an encrypted object.
_SEALED = ".sealed"
_ANNOUNCE = (
    "insert into binary_object (tenant_id, key, size, touched) values (%s, %s, %s, %s)"
    " on conflict (tenant_id, key) do update set touched = excluded.touched returning used or exists"
    " (select from message_object m where m.tenant_id = binary_object.tenant_id and m.key = binary_object.key)"
)
_USE = "update binary_object set used = true where tenant_id = %s and key = any(%s::bytea[]) returning key, size"
_ORPHAN = (
    "select key from binary_object b where tenant_id = %s and not used and touched < %s"
    " and not exists (select from message_object m where m.tenant_id = b.tenant_id and m.key = b.key)"
    " order by touched limit 1 for update skip locked"
)
# Messages go by whole days, the oldest first.
_LET_GO = (
    "delete from message_object where tenant_id = %s and message_id <"
    " coalesce((select min(id) from inbox where tenant_id = %s), 9223372036854775807)"
)
_FORGET = "delete from binary_object where tenant_id = %s and key = %s"


class Content(msgspec.Struct, frozen=True):
    """What is kept: the key of the object, 32 bytes, and its size in bytes."""

    key: bytes
    size: int


class Objects:
    """The store of contents; each tenant's stand apart, under its number."""

    def __init__(self, url: str, db: Database, secret: bytes) -> None:
        """Take the store at `file:///FOLDER` or `s3://KEY:SECRET@HOST[:PORT]/BUCKET[/PREFIX][?region=&tls=false]`.

        Nothing is opened or made before it is needed.
        """
        self._db, self._url = db, url
        self._folder = _folder(url)
        self._key = blake2b(secret, digest_size=32, person=b"concord-object").digest()

    @cached_property
    def _store(self) -> Store:
        return opened_store(self._url)

    async def keep(self, tenant_id: int, chunks: AsyncIterator[bytes], now: datetime) -> Content:
        """Return the content of `chunks`, kept for good once a transaction uses it.

        No more than a few parts of it are in memory. What `chunks` raises is raised. Raises Busy where the store fails.
        """
        digest = blake2b(b"%d\0" % tenant_id, digest_size=32, key=self._key)
        first = bytearray()
        async for chunk in chunks:
            digest.update(chunk)
            first += chunk
            if len(first) > _WHOLE:
                return await self._streamed(tenant_id, bytes(first), chunks, digest, now)
        content = Content(digest.digest(), len(first))
        if not await self._announced(tenant_id, content, now):
            path = self._path(tenant_id, content.key)
            data = b"".join([piece async for piece in self._stored(tenant_id, _alone(bytes(first)), digest)])
            await passing(obstore.put_async(self._store, path, data, use_multipart=False))
            await self._sync(path)
        return content

    async def _streamed(
        self, tenant_id: int, first: bytes, chunks: AsyncIterator[bytes], digest: Any, now: datetime
    ) -> Content:
        size = 0

        async def rest() -> AsyncIterator[bytes]:
            nonlocal size
            size = len(first)
            yield first
            async for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                yield chunk

        incoming = f"{_INCOMING}/{tenant_id}/{uuid.uuid4().hex}"
        stored = self._stored(tenant_id, rest(), digest)
        await passing(
            obstore.put_async(self._store, incoming, stored, chunk_size=_PART, max_concurrency=2, use_multipart=True)
        )
        content = Content(digest.digest(), size)
        if await self._announced(tenant_id, content, now):
            await passing(obstore.delete_async(self._store, incoming))
            return content
        path = self._path(tenant_id, content.key)
        await self._sync(incoming)
        await passing(obstore.rename_async(self._store, incoming, path))
        await self._sync(path)
        return content

    async def _stored(self, tenant_id: int, chunks: AsyncIterator[bytes], digest: Any) -> AsyncIterator[bytes]:
        """Return content as it is stored, in pieces; `digest` names it once all has come."""
        keyring = self._db.keyring
        if not keyring.on:
            async for chunk in chunks:
                yield chunk
            return
        await keyring.ready(self._db, tenant_id)
        sealer = Sealer(keyring, tenant_id)
        yield sealer.start()
        async for chunk in chunks:
            for piece in sealer.piece(chunk):
                yield piece
        yield sealer.end() + sealer.seal(digest.digest())

    def _path(self, tenant_id: int, key: bytes) -> str:
        """Return where content is written."""
        return _path(tenant_id, key) + (_SEALED if self._db.keyring.on else "")

    async def _announced(self, tenant_id: int, content: Content, now: datetime) -> bool:
        """Announce the object, and tell whether it is there for good already."""
        rows = await self._db.fetch(tenant_id, _ANNOUNCE, (tenant_id, content.key, content.size, now))
        return bool(rows[0][0]) and await self.there(tenant_id, content.key)

    async def there(self, tenant_id: int, key: bytes) -> bool:
        """Tell whether the store has the object, encrypted or not."""
        for path in both(tenant_id, key):
            try:
                await passing(obstore.head_async(self._store, path))
            except FileNotFoundError:
                continue
            return True
        return False

    async def stream(self, tenant_id: int, content: Content, start: int, end: int) -> AsyncIterator[bytes]:
        """Return the bytes from `start` up to `end`, in pieces; raise Busy where the store does not give them."""
        if start >= end:
            return
        sealed, plain = both(tenant_id, content.key)
        layout = Layout(content.size)
        try:
            opener = await self._opener(tenant_id, content, sealed, layout)
        except FileNotFoundError:
            async for piece in self._pieces(plain, start, end):
                yield piece
            return
        _, first, last = layout.span(start, end)
        async for piece in opener.opened(self._pieces(sealed, first, last), layout, start, end):
            yield piece

    async def _opener(self, tenant_id: int, content: Content, path: str, layout: Layout) -> Opener:
        """Return what opens an encrypted object; raise FileNotFoundError where there is none."""
        found = await passing(obstore.get_async(self._store, path, options={"range": (0, HEAD)}))
        if found.meta["size"] != layout.whole:
            raise Unreadable("a document is not as long as it was stored")
        head = bytes(await passing(found.bytes_async()))
        seal = b"".join([piece async for piece in self._pieces(path, layout.seal, layout.whole)])
        await self._db.keyring.learn(self._db, tenant_id, number_of(head))
        return Opener(self._db.keyring, tenant_id, content.key, head, seal)

    async def _pieces(self, path: str, start: int, end: int) -> AsyncIterator[bytes]:
        try:
            found = await passing(obstore.get_async(self._store, path, options={"range": (start, end)}))
        except FileNotFoundError as problem:
            raise Busy("the content is not in the object store") from problem
        async for piece in found.stream(min_chunk_size=1 << 16):
            yield bytes(piece)

    async def sweep(self, tenant_ids: Sequence[int], before: datetime) -> int:
        """Take away what was announced before a moment and is not used, and uploads that ended halfway.

        Each object goes with its row in a transaction of its own, so that a sweep may stop anywhere.
        """
        swept = 0
        for tenant_id in tenant_ids:
            await self._db.fetch(tenant_id, _LET_GO, (tenant_id, tenant_id))
            while await self._swept_one(tenant_id, before):
                swept += 1
        if self._folder is not None:
            return swept + await asyncio.to_thread(_swept_files, self._folder / _INCOMING, before)
        async for batch in obstore.list(self._store, prefix=_INCOMING):
            for found in batch:
                if found["last_modified"] < before:
                    await self._delete(found["path"])
                    swept += 1
        return swept

    async def _swept_one(self, tenant_id: int, before: datetime) -> bool:
        async with self._db.transaction(tenant_id) as tx:
            rows = await tx.fetch(_ORPHAN, (tenant_id, before))
            for (key,) in rows:
                # Whoever announces it anew meanwhile waits for this row, and then writes the object again.
                for path in both(tenant_id, key):
                    await self._delete(path)
                tx.defer(_FORGET, (tenant_id, key))
        return bool(rows)

    async def _delete(self, path: str) -> None:
        try:
            await passing(obstore.delete_async(self._store, path))
        except FileNotFoundError:
            return

    async def _sync(self, path: str) -> None:
        """Have a file and the folders that name it reach the disk; an S3 store answers when that is so."""
        if self._folder is not None:
            await asyncio.to_thread(_fsync, self._folder, path)


async def use(tx: Tx, contents: Sequence[Content]) -> bool:
    """Mark contents as used by this transaction; tell whether all of them are known, with their sizes."""
    wanted = {content.key: content.size for content in contents}
    rows = await tx.fetch(_USE, (tx.tenant_id, sorted(wanted)))
    return {bytes(key): size for key, size in rows} == wanted


async def probe(url: str) -> None:
    """Write, read and take away a small object; raise whatever the store raises where it does not let us."""
    store = opened_store(url)
    path = f"probe/{uuid.uuid4().hex}"
    await obstore.put_async(store, path, b"concord", use_multipart=False)
    await obstore.get_async(store, path)
    await obstore.delete_async(store, path)


def _path(tenant_id: int, key: bytes) -> str:
    name = key.hex()
    return f"{tenant_id}/{name[:2]}/{name}"


def both(tenant_id: int, key: bytes) -> tuple[str, str]:
    """Return where content stands: encrypted, or as it was stored before there was a master key."""
    path = _path(tenant_id, key)
    return path + _SEALED, path


async def _alone(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _folder(url: str) -> Path | None:
    parts = urlsplit(url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def opened_store(url: str) -> Store:
    """Return the store of a URL; a folder is made where it is missing. Raises ValueError for what is no such URL."""
    folder = _folder(url)
    if folder is None:
        return _s3(url)
    # For its owner's eyes alone.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return LocalStore(prefix=folder)


def _s3(url: str) -> S3Store:
    parts = urlsplit(url)
    bucket, _, prefix = parts.path.strip("/").partition("/")
    if not (parts.hostname and bucket):
        raise ValueError("an S3 store needs a host and a bucket")
    options = dict(parse_qsl(parts.query))
    plain = options.get("tls") == "false"
    port = f":{parts.port}" if parts.port else ""
    return S3Store(
        bucket,
        prefix=prefix or None,
        endpoint=f"{'http' if plain else 'https'}://{parts.hostname}{port}",
        access_key_id=unquote(parts.username or ""),
        secret_access_key=unquote(parts.password or ""),
        region=options.get("region", "us-east-1"),
        virtual_hosted_style_request=False,
        # The time of a whole answer, which a slow reader may stretch.
        client_options={"allow_http": plain, "connect_timeout": timedelta(seconds=5), "timeout": timedelta(hours=1)},
    )


async def passing(asked: Any) -> Any:
    """Return what the store answers; its own failures may pass, so they are Busy."""
    try:
        return await asked
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as problem:
        raise Busy("the object store does not answer as it should") from problem


def _swept_files(folder: Path, before: datetime) -> int:
    """Take away files last written before a moment. A list of the store leaves out those that a kill cut short."""
    old = [file for file in folder.glob("*/*") if file.stat().st_mtime < before.timestamp()]
    for file in old:
        file.unlink(missing_ok=True)
    return len(old)


def _fsync(folder: Path, path: str) -> None:
    place = folder / path
    while True:
        number = os.open(place, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
        if place == folder:
            return
        place = place.parent
