"""The entries of a batch or transaction bundle as requests. http://hl7.org/fhir/R4/bundle.html"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import format_datetime
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from conformance.structures import Refused, decode
from fhir_server.errors import Invalid
from fhir_server.interactions.message import Request
from fhir_server.search.date import interval

METHODS = ("DELETE", "POST", "PUT", "PATCH", "GET", "HEAD")


class EntryRequest(msgspec.Struct, frozen=True):
    """Bundle.entry.request; what conformance checks is not checked again here."""

    method: str
    url: str
    ifMatch: str | None = None  # noqa: N815 - FHIR's name
    ifNoneMatch: str | None = None  # noqa: N815
    ifModifiedSince: str | None = None  # noqa: N815
    ifNoneExist: str | None = None  # noqa: N815


class Entry(msgspec.Struct, frozen=True):
    """One entry; the resource stays the bytes it came as."""

    fullUrl: str | None = None  # noqa: N815
    resource: msgspec.Raw = msgspec.Raw(b"")
    request: EntryRequest | None = None


class _Bundle(msgspec.Struct, frozen=True):
    type: str
    entry: list[Entry] = []


_decoder = msgspec.json.Decoder(_Bundle)
_shell = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def parse_bundle(body: bytes) -> tuple[str, list[Entry]]:
    """Return type and entries of a Bundle; raise Invalid with every problem of its shell.

    The resources in it are not checked here: each is checked once, when it is written.
    """
    try:
        _check_shell(body)
        found = _decoder.decode(body)
    except Refused as refused:
        raise Invalid(refused.issues) from refused
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise Invalid(f"the body is not a Bundle: {problem}", "Bundle") from problem
    return found.type, found.entry


def _check_shell(body: bytes) -> None:
    """Check the bundle with its resources taken out, so that checking costs nothing per byte of them."""
    members = _shell.decode(body)
    if "entry" in members:
        entries = [{k: v for k, v in e.items() if k != "resource"} for e in _list.decode(members["entry"])]
        if any(not e for e in entries):
            raise Invalid("every entry of a batch or transaction needs a request", "Bundle.entry")
        members["entry"] = msgspec.Raw(msgspec.json.encode(entries))
    decode("Bundle", msgspec.json.encode(members))


def request_of(item: Entry, path: str, prefer: str | None) -> Request:
    """Return the entry as a request of its own; raise Invalid where it has none or an odd one."""
    asked = item.request
    if asked is None:
        raise Invalid("every entry of a batch or transaction needs a request", path)
    if asked.method not in METHODS:
        raise Invalid(f"{asked.method} is not one of {', '.join(METHODS)}", f"{path}.request.method")
    try:
        parts = urlsplit(asked.url)
    except ValueError as problem:
        raise Invalid(f"request.url is no address: {problem}", f"{path}.request.url") from problem
    if parts.scheme or parts.netloc:
        raise Invalid("request.url must be relative to the FHIR base", f"{path}.request.url")
    segments = tuple(unquote(s) for s in parts.path.strip("/").split("/") if s)
    # How an answer looks is said of the whole bundle.
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in ("_format", "_pretty")]
    headers = _headers(asked, prefer)
    return Request(asked.method, segments, query, headers, bytes(item.resource), address=asked.url.encode())


def _http_date(instant: str | None) -> str | None:
    """Return an instant as the header says it; the bundle's shell is checked, so it is one."""
    return format_datetime(interval(instant)[0], usegmt=True) if instant else None


def _headers(asked: EntryRequest, prefer: str | None) -> Mapping[str, str]:
    named = {
        "if-match": asked.ifMatch,
        "if-none-match": asked.ifNoneMatch,
        "if-modified-since": _http_date(asked.ifModifiedSince),
        "if-none-exist": asked.ifNoneExist,
        "prefer": prefer,
    }
    return {name: value for name, value in named.items() if value is not None}
