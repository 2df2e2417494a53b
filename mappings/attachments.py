"""Embedded and referenced documents: ED, RP → Attachment, checked, sniffed and hashed.

HL7 v2.5.1 chapter 2.A.24 (ED), 2.A.63 (RP); https://hl7.org/fhir/R4/datatypes.html#Attachment
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from hashlib import sha1

from mappings.context import Codes, Context, full_url
from mappings.delimiters import NULL, unescape
from mappings.mapped import Document, Entry, Json, SenderProfile
from mappings.value import Value

_TYPES = {
    ("AP", "PDF"): "application/pdf",
    ("APPLICATION", "PDF"): "application/pdf",
    ("IM", "JPEG"): "image/jpeg",
    ("IM", "PNG"): "image/png",
    ("IM", "GIF"): "image/gif",
    ("IM", "TIFF"): "image/tiff",
    ("TEXT", "HTML"): "text/html",
    ("TEXT", "XML"): "text/xml",
    ("TEXT", "RTF"): "application/rtf",
    ("TEXT", ""): "text/plain",
    ("TX", ""): "text/plain",
    ("FT", ""): "text/plain",
    ("AP", "RTF"): "application/rtf",
}
_MAGIC = (
    (b"%PDF", "application/pdf"),
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"{\\rtf", "application/rtf"),
    (b"PK\x03\x04", "application/zip"),
)
_SUBTYPES = {"PDF": "application/pdf", "RTF": "application/rtf", "HTML": "text/html", "XML": "text/xml"}
_SUBTYPES |= {"JPEG": "image/jpeg", "JPG": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "TIFF": "image/tiff"}


def embedded(value: Value, cx: Context, codes: Codes | None) -> Json | None:
    """ED → Attachment with its data; None where it has none."""
    if len(value.parts) > 4 and (document := cx.documents.get(value.parts[4])):
        return _outside(document, value, cx)
    # not `text`: that is cut to the length of a FHIR string
    text = unescape(value.parts[4], value.marks) if len(value.parts) > 4 else ""
    if not text.strip() or text == NULL:
        return None
    data = _bytes(text, value.code(4).upper())
    if data is None:
        cx.warn("value", f"data declared as {value.code(4)!r} are not; kept as text")
        return {"contentType": "text/plain", **_content(text.encode("utf-8", "surrogatepass"))}
    return {"contentType": _content_type(value, data, cx.profile), **_content(data)}


def _outside(document: Document, value: Value, cx: Context) -> Json:
    """The Attachment of a document that stands in an object: its address is settled with the resource that has it."""
    kind = _content_type(value, document.begins, cx.profile) if document.read else "text/plain"
    if not document.read:
        cx.warn("value", f"data declared as {value.code(4)!r} are not; kept as text")
    digest = base64.b64encode(document.sha1).decode("ascii")
    return {"contentType": kind, "url": value.parts[4], "size": document.size, "hash": digest}


def settle(cx: Context, owner: Entry) -> None:
    """Make a Binary of each document of a resource; who may see the resource may see it.

    The same document of the same resource is the same Binary in every message, so that a replay makes no other.
    """
    extensions = [one.get("valueAttachment", {}) for one in owner.resource.get("extension", [])]
    for attachment in [*owner.resource.get("presentedForm", []), *extensions]:
        document = cx.documents.get(attachment.get("url", ""))
        if document is not None:
            url = full_url("Binary", owner.full_url, json.dumps(document.data))
            id_ = url.removeprefix("urn:uuid:")
            attachment["url"] = f"Binary/{id_}"
            binary = {"resourceType": "Binary", "id": id_, "contentType": attachment["contentType"]}
            guard = {"securityContext": {"reference": owner.full_url}}
            cx.entries[url] = Entry(url, {**binary, **guard, "_data": document.data})


def referenced(value: Value, cx: Context, codes: Codes | None) -> Json | None:
    """RP → Attachment with its address."""
    pointer = value.text(1)
    if not pointer:
        return None
    kind = f"{value.code(3)}/{value.code(4)}".lower().strip("/")
    found: Json = {"contentType": kind} if re.fullmatch(r"[a-z]+/[\w.+-]+", kind, re.ASCII) else {}
    if re.search(r"\s", pointer):
        cx.warn("value", "a pointer with blanks is no address; kept as title")
        return found | {"title": pointer}
    return found | {"url": pointer}


def _bytes(text: str, encoding: str) -> bytes | None:
    """The data of ED.5 by ED.4; None where they are not what ED.4 says."""
    if encoding in ("", "A"):
        return text.encode("utf-8", "surrogatepass")
    packed = re.sub(r"\s", "", text)
    try:
        if encoding == "HEX":
            return bytes.fromhex(packed)
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True) if encoding == "BASE64" else None
    except (ValueError, binascii.Error):
        return None


def _content_type(value: Value, data: bytes, profile: SenderProfile) -> str:
    kind, subtype = value.code(2), value.code(3)
    sniffed = next((name for magic, name in _MAGIC if data.startswith(magic)), None) if profile.sniff else None
    declared = _TYPES.get((kind.upper(), subtype.upper())) or _SUBTYPES.get(subtype.upper())
    if not declared and re.fullmatch(r"[a-z]+/[\w.+-]+", kind.lower(), re.ASCII):
        declared = kind.lower()
    return sniffed or declared or "application/octet-stream"


def _content(data: bytes) -> Json:
    """Data, size and hash; FHIR fixes the hash to SHA-1, it guards against damage, not against malice."""
    digest = sha1(data, usedforsecurity=False).digest()
    return {
        "data": base64.b64encode(data).decode("ascii"),
        "size": len(data),
        "hash": base64.b64encode(digest).decode("ascii"),
    }
