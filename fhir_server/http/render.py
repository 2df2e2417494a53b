"""An answer in the form that its client asked for: JSON as it is, or XML, or lines, packed or not."""

from __future__ import annotations

import asyncio
from functools import lru_cache

import msgspec

from conformance.structures import Refused
from conformance.xml_read import to_json
from conformance.xml_write import to_xml
from fhir_server.errors import Invalid, UnsupportedMedia
from fhir_server.http import ndjson
from fhir_server.http.coding import packed, unpacked
from fhir_server.http.formats import OFFICIAL, TYPES, Format, View, body_type
from fhir_server.interactions.message import Request, Response

# Work on so many bytes is done beside the event loop, which answers others meanwhile: XML is slow, gzip is not.
_LARGE_XML = 1 << 16
_LARGE = 1 << 20
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))


async def rendered(response: Response, view: View, pack_from: int, *, keep: bool = False) -> Response:
    """Return the answer as the client wants it; `keep` for one that is the same for many.

    Answers of `pack_from` bytes and more are packed where the client takes that; 0 packs none. What says its own type
    stays as it is.
    """
    body = response.body
    if "content-type" in response.headers or not body:
        return response
    headers = {"content-type": view.content_type, **response.headers}
    if view.format == "ndjson":
        body, around = ndjson.lines(response)
        headers |= around
    pack = view.gzip and 0 < pack_from <= len(body)
    if view.format == "xml" or view.pretty or pack:
        make = _kept if keep else _made
        work = (body, view.format, view.pretty, pack_from if view.gzip else 0)
        large = len(body) > (_LARGE_XML if view.format == "xml" else _LARGE)
        body, pack = await asyncio.to_thread(make, *work) if large else make(*work)
    if pack:
        headers["content-encoding"] = "gzip"
    return Response(response.status, body, headers)


def _made(body: bytes, form: Format, pretty: bool, pack_from: int) -> tuple[bytes, bool]:
    """Return the bytes of a body, and whether they are packed."""
    if form == "xml":
        body = to_xml(body, pretty=pretty)
    elif form == "json" and pretty:
        body = msgspec.json.format(body, indent=2)
    pack = 0 < pack_from <= len(body)
    return (packed(body), True) if pack else (body, False)


# The CapabilityStatement is large, the same for all, and asked for without a token.
_kept = lru_cache(maxsize=16)(_made)


async def plain(request: Request, max_body: int) -> Request:
    """Return the request with its body unpacked.

    Raises UnsupportedMedia, TooLarge or Invalid for a body that cannot be.
    """
    coding = request.headers.get("content-encoding")
    if not coding or not request.body:
        return request
    # Packed bytes become many more.
    large = len(request.body) > _LARGE_XML
    work = (request.body, coding, max_body)
    body = await asyncio.to_thread(unpacked, *work) if large else unpacked(*work)
    headers = {name: value for name, value in request.headers.items() if name != "content-encoding"}
    return msgspec.structs.replace(request, body=body, headers=headers)


async def as_json(request: Request, max_entries: int) -> Request:
    """Return the request with a body of FHIR JSON.

    Raises UnsupportedMedia for a content type that is not taken here, Invalid for what is not XML or lines,
    TooLarge for more than `max_entries` lines.
    """
    if request.method not in _WITH_BODY:
        return request
    kind = body_type(request)
    if request.path[-1:] == ("_search",):
        return request
    form = TYPES.get(kind or OFFICIAL["json"])
    if request.method == "PATCH":
        # What else a patch may be says its interaction.
        return await _from_xml(request) if kind == OFFICIAL["xml"] else request
    if form is None or (form == "ndjson" and request.path):
        at_base = ", and application/fhir+ndjson at the base" if form else ""
        raise UnsupportedMedia(f"send application/fhir+json or application/fhir+xml{at_base}, not {kind[:80]}")
    if form == "ndjson":
        return _json(request, ndjson.batch(request.body, max_entries))
    return await _from_xml(request) if form == "xml" else request


async def _from_xml(request: Request) -> Request:
    try:
        large = len(request.body) > _LARGE_XML
        body = await asyncio.to_thread(to_json, request.body) if large else to_json(request.body)
    except Refused as refused:
        raise Invalid(refused.issues) from refused
    return _json(request, body)


def _json(request: Request, body: bytes) -> Request:
    """Return the request with a body that is FHIR JSON now."""
    return msgspec.structs.replace(request, body=body, headers={**request.headers, "content-type": OFFICIAL["json"]})
