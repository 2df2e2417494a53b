"""Bundles are joined from stored bytes; no resource is parsed to be sent. http://hl7.org/fhir/R4/bundle.html"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlencode

import msgspec

from fhir_server.interactions.body import instant
from fhir_server.interactions.labels import high_water

Link = tuple[str, str]
_encode = msgspec.json.encode


def link(relation: str, address: str, query: Sequence[tuple[str, str]]) -> Link:
    """Return a link of a bundle; the query keeps its order."""
    return relation, f"{address}?{urlencode(query)}" if query else address


def entry(
    full_url: str | None,
    body: bytes | None,
    *,
    mode: str | None = None,
    request: tuple[str, str] | None = None,
    response: tuple[str, ...] | None = None,
    outcome: bytes | None = None,
) -> bytes:
    """Return one entry: request is (method, url), response (status, etag, lastModified, location) as far as known."""
    parts: list[bytes] = []
    if full_url:
        parts.append(b'"fullUrl":' + _encode(full_url))
    if body:
        parts.append(b'"resource":' + body)
    if mode:
        parts.append(b'"search":{"mode":%b}' % _encode(mode))
    if request:
        parts.append(b'"request":' + _encode({"method": request[0], "url": request[1]}))
    if response:
        parts.append(b'"response":' + _response(response, outcome))
    return b"{" + b",".join(parts) + b"}"


def _response(values: tuple[str, ...], outcome: bytes | None) -> bytes:
    fields = dict(zip(("status", "etag", "lastModified", "location"), values, strict=False))
    text = _encode({name: value for name, value in fields.items() if value})
    return text[:-1] + b',"outcome":' + outcome + b"}" if outcome else text


def bundle(
    kind: str, entries: Sequence[bytes], links: Sequence[Link], now: datetime, total: int | None = None
) -> bytes:
    """Return a Bundle of type `kind`; empty lists are left out, as FHIR's JSON demands."""
    labels = high_water(entries)
    meta = {"lastUpdated": instant(now), **({"security": labels} if labels else {})}
    head = {"resourceType": "Bundle", "id": str(uuid.uuid4()), "meta": meta, "type": kind}
    parts = [_encode(head)[:-1]]
    if total is not None:
        parts.append(b'"total":%d' % total)
    if links:
        parts.append(b'"link":' + _encode([{"relation": r, "url": u} for r, u in links]))
    if entries:
        parts.append(b'"entry":[' + b",".join(entries) + b"]")
    return b",".join(parts) + b"}"
