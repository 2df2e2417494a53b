"""Documents that were cut out of a message, on their way to the resources that have them: never whole in memory.

HL7 v2.5.1 chapter 2.A.24 (ED): ED.4 says how ED.5 is written
"""

from __future__ import annotations

import base64
import binascii
import codecs
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import msgspec

from fhir_server.context import Context
from fhir_server.interactions.content import named
from fhir_server.store import lifted
from fhir_server.store.lifted import Lifted
from fhir_server.store.objects import Content, Objects
from mappings import hl7v2
from mappings.delimiters import Delimiters, unescape
from mappings.mapped import Document

_BEGINNING = 64
# No escape sequence that matters to a document is longer.
_LONGEST_ESCAPE = 80
_decoder = msgspec.json.Decoder(dict[str, object])


class _NotThat(Exception):
    """The text is not what ED.4 says."""


async def marked(
    objects: Objects, ctx: Context, raw: bytes, found: Sequence[Lifted], charset: str = "", fallback: str = ""
) -> tuple[bytes, Mapping[str, Document]]:
    """Return a message with a word in the place of each document, and the documents by those words.

    The words are made for this once, so that nobody can have written them.
    """
    head, said = hl7v2.header(raw), hl7v2.decode(raw, override=charset, fallback=fallback)
    secret = secrets.token_hex(16)
    parts, documents, at = [], dict[str, Document](), 0
    for number, one in enumerate(found):
        word = f"{secret}x{number}"
        documents[word] = await _document(objects, ctx, one, said.charset, head.delimiters)
        parts += [raw[at : one.at], word.encode()]
        at = one.at
    return b"".join([*parts, raw[at:]]), documents


async def _document(objects: Objects, ctx: Context, one: Lifted, charset: str, marks: Delimiters) -> Document:
    if one.whole is not None:
        return _told(one.whole, one.sha1, one.begins)
    try:
        return await _stored(objects, ctx, _read(objects, ctx, one, charset, marks))
    except _NotThat:
        as_text = msgspec.structs.replace(one, encoding="")
        document = await _stored(objects, ctx, _read(objects, ctx, as_text, charset, marks))
        return msgspec.structs.replace(document, read=False)


def _told(content: Content, sha1: bytes, begins: bytes) -> Document:
    return Document(_decoder.decode(named(content)), content.size, sha1, begins)


async def _stored(objects: Objects, ctx: Context, data: AsyncIterator[bytes]) -> Document:
    digest, begins = hashlib.sha1(usedforsecurity=False), b""

    async def noted() -> AsyncIterator[bytes]:
        nonlocal begins
        async for piece in data:
            digest.update(piece)
            begins += piece[: _BEGINNING - len(begins)]
            yield piece

    content = await objects.keep(ctx.tenant.id, noted(), ctx.now)
    return _told(content, digest.digest(), begins)


async def _read(objects: Objects, ctx: Context, one: Lifted, charset: str, marks: Delimiters) -> AsyncIterator[bytes]:
    """Return the bytes of a document by the text that it is in the message. Raises _NotThat."""
    reader = _READERS.get(one.encoding)
    if reader is None:
        raise _NotThat
    # The rest of the message may be ASCII where the document is not.
    decode = codecs.getincrementaldecoder("utf-8" if charset == "ascii" else charset)("backslashreplace").decode
    text, rest = "", b""
    async for piece in lifted.text(objects, ctx.tenant.id, one):
        now, text = _cut(text + decode(piece), marks.escape)
        data, rest = reader(rest + unescape(now, marks).encode("utf-8", "surrogatepass"), False)
        yield data
    yield reader(rest + unescape(text, marks).encode("utf-8", "surrogatepass"), True)[0]


def _cut(text: str, mark: str) -> tuple[str, str]:
    """Cut text where no escape sequence is cut through."""
    at = text.find(mark, max(0, len(text) - _LONGEST_ESCAPE))
    return (text, "") if at < 0 else (text[:at], text[at:])


def _base64(text: bytes, last: bool) -> tuple[bytes, bytes]:
    packed = re.sub(rb"\s", b"", text)
    size = len(packed) // 4 * 4
    now, rest = packed[:size], packed[size:]
    if last:
        now, rest = packed + b"=" * (-len(packed) % 4), b""
    elif now.endswith(b"="):
        # The end, as it seems: if more comes, it is none.
        now, rest = packed[: size - 4], packed[size - 4 :]
    try:
        return base64.b64decode(now, validate=True), rest
    except binascii.Error:
        raise _NotThat from None


def _hexadecimal(text: bytes, last: bool) -> tuple[bytes, bytes]:
    packed = re.sub(rb"\s", b"", text)
    size = len(packed) // 2 * 2
    if last and size < len(packed):
        raise _NotThat
    try:
        return binascii.unhexlify(packed[:size]), packed[size:]
    except binascii.Error:
        raise _NotThat from None


def _plain(text: bytes, last: bool) -> tuple[bytes, bytes]:
    return text, b""


_READERS: Mapping[str, Callable[[bytes, bool], tuple[bytes, bytes]]] = {
    "BASE64": _base64,
    "HEX": _hexadecimal,
    "A": _plain,
    "": _plain,
}
