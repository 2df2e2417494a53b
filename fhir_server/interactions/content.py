"""The content of a Binary: base64 in its JSON for who asks for that, an object of its own in the store.

http://hl7.org/fhir/R4/binary.html

A stored Binary names its object and the size in an extension of `data`. The name is a keyed hash of the content, which
nobody can make who does not have the content: to give it back is to give the content.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from fhir_server.context import Context
from fhir_server.errors import Invalid, TooLarge
from fhir_server.interactions.body import members_of, text_member
from fhir_server.interactions.draft import Draft, Save, Saved
from fhir_server.interactions.service import Service
from fhir_server.store import objects
from fhir_server.store.database import Tx
from fhir_server.store.objects import Content

EXTENSION = "urn:concord:object"
_NAMED = re.compile(r"([0-9a-f]{64})\.([0-9]{1,15})\Z")
_encode = msgspec.json.encode
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
# Contents of one request that are written at one time.
_AT_ONCE = 8


def named(content: Content) -> bytes:
    """Return the companion of `data` that names a content, as JSON."""
    return _encode({"extension": [{"url": EXTENSION, "valueString": f"{content.key.hex()}.{content.size}"}]})


def content_of(body: bytes) -> Content | None:
    """Return the content that the JSON of a Binary names, or None where it names none."""
    if EXTENSION.encode() not in body:
        return None
    companion = _decoder.decode(members_of(body).get("_data", b"{}"))
    for one in companion.get("extension", ()):
        found = _NAMED.match(one.get("valueString", "")) if one.get("url") == EXTENSION else None
        if found:
            return Content(bytes.fromhex(found[1]), int(found[2]))
    return None


def inline(body: bytes) -> bytes:
    """Return the content that stands in the JSON of a Binary itself."""
    return base64.b64decode(text_member(members_of(body), "data") or "")


async def whole(service: Service, ctx: Context, body: bytes) -> bytes:
    """Return the JSON of a Binary with its content as base64; raise TooLarge where that would be too much."""
    content = content_of(body)
    if content is None:
        return body
    if content.size > service.limits.max_inline:
        raise TooLarge(
            f"the content has {content.size} bytes, and no more than {service.limits.max_inline} are put into JSON:"
            " ask for it without Accept, and it comes as it is"
        )
    parts = [part async for part in service.objects.stream(ctx.tenant.id, content, 0, content.size)]
    return _with(body, b'"data":"%b"' % base64.b64encode(b"".join(parts)))


async def shown(service: Service, ctx: Context, saved: Saved) -> Saved:
    """Return what a client wrote as it wrote it: a Binary with its content, unless that is too much."""
    content = content_of(saved.body) if saved.type == "Binary" and saved.body else None
    if content is None or saved.body is None or content.size > service.limits.max_inline:
        return saved
    return msgspec.structs.replace(saved, body=await whole(service, ctx, saved.body))


def _with(body: bytes, data: bytes) -> bytes:
    """Return the JSON of a Binary with this in place of what it says of its data."""
    kept = [b'"%b":%b' % (n.encode(), bytes(raw)) for n, raw in members_of(body).items() if n not in ("data", "_data")]
    return b"{" + b",".join([*kept, data]) + b"}"


async def lifted(service: Service, ctx: Context, saves: Sequence[Save]) -> Sequence[Save]:
    """Return the saves with the contents of Binaries in the object store instead of in their JSON."""
    if not any(save.type == "Binary" and save.resource for save in saves):
        return saves
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(save: Save) -> Save:
        async with gate:
            return await _lifted(service, ctx, save)

    return await asyncio.gather(*map(one, saves))


async def _lifted(service: Service, ctx: Context, save: Save) -> Save:
    if save.type != "Binary" or save.resource is None or b'"data"' not in save.resource:
        return save
    try:
        text = text_member(members_of(save.resource), "data")
        content = base64.b64decode(text or "", validate=True)
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, ValueError, RecursionError):
        # What is wrong with it is told when it is checked.
        return save
    if not text:
        return save

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    kept = await service.objects.keep(ctx.tenant.id, chunks(), ctx.now)
    return msgspec.structs.replace(save, resource=_with(save.resource, b'"_data":' + named(kept)))


async def claim(tx: Tx, drafts: Sequence[Draft]) -> None:
    """Mark the contents that drafts name as used; raise Invalid for one that is not here."""
    # Several messages are written together, each with paths of its own: a path does not tell one draft.
    found = [
        (draft.path, content)
        for draft in drafts
        if draft.type == "Binary" and draft.body and not draft.kept and (content := content_of(draft.body))
    ]
    if found and not await objects.use(tx, [content for _, content in found]):
        raise Invalid("a Binary names a content that is not here", *dict(found))
