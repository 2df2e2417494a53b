"""Which representation an answer has, and which one a body is in. http://hl7.org/fhir/R4/http.html#mime-type"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, urlencode

import msgspec

from fhir_server.errors import NotAcceptable, UnsupportedMedia
from fhir_server.http.coding import takes_gzip
from fhir_server.interactions.message import FHIR_JSON, Request

Format = Literal["json", "xml", "ndjson"]
OFFICIAL: Mapping[Format, str] = {
    "json": "application/fhir+json",
    "xml": "application/fhir+xml",
    "ndjson": "application/fhir+ndjson",
}
# Every name that a format may be called by; the generic ones are answered by their own name.
TYPES: Mapping[str, Format] = {
    "application/fhir+json": "json",
    "application/json": "json",
    "text/json": "json",
    "application/fhir+xml": "xml",
    "application/xml": "xml",
    "text/xml": "xml",
    "application/fhir+ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/x-ndjson": "ndjson",
}
# What a client that takes anything gets; the others must be asked for by name.
_ANYWAY: tuple[Format, ...] = ("json", "xml")
_UTF8 = frozenset(("utf-8", "utf8", "us-ascii"))
_VERSIONS = frozenset(("4.0", "4.0.1"))
_LOOK = ("_format", "_pretty")


class Media(NamedTuple):
    """A media type or range with its parameters, all in lower case but for their values."""

    type: str
    params: Mapping[str, str]

    @property
    def quality(self) -> float:
        """Return `q`, 1 where it is not said, 0 where it cannot be read."""
        try:
            return max(0.0, min(1.0, float(self.params.get("q", "1"))))
        except ValueError:
            return 0.0

    @property
    def fault(self) -> str | None:
        """Return which of its parameters asks for what is not done here, or None."""
        charset, version = self.params.get("charset", "utf-8"), self.params.get("fhirversion", "4.0")
        if charset.lower() not in _UTF8:
            return f"text is in UTF-8 here, not in {charset[:40]}"
        return None if version in _VERSIONS else f"FHIR is of version 4.0 here, not {version[:40]}"


class View(msgspec.Struct, frozen=True):
    """How the client wants its answer to look."""

    format: Format = "json"
    content_type: str = FHIR_JSON
    pretty: bool = False
    gzip: bool = False


def media(text: str) -> Media:
    """Return one media type of a header."""
    kind, *params = text.split(";")
    pairs = (param.partition("=") for param in params)
    return Media(kind.strip().lower(), {k.strip().lower(): v.strip().strip('"') for k, _, v in pairs})


@lru_cache(maxsize=512)
def accepted(accept: str, named: bool = False) -> tuple[Format, str]:
    """Return the format that an Accept header likes best, and what the answer calls itself; raise NotAcceptable.

    Of equal liking the first counts. With `named` the answer calls itself by its official name.
    """
    found = [(quality, -place, name) for quality, place, name in _liked(accept) if quality > 0]
    if not found:
        raise NotAcceptable(f"this server answers {', '.join(OFFICIAL.values())}, not {accept[:80]}")
    chosen = max(found)[2]
    told = OFFICIAL[TYPES[chosen.type]] if named else chosen.type
    version = "; fhirVersion=4.0" if "fhirversion" in chosen.params else ""
    return TYPES[chosen.type], f"{told}; charset=utf-8{version}"


def _liked(accept: str) -> Iterator[tuple[float, float, Media]]:
    """Yield each type that may be answered, with its quality and place; a range stands for what is not named."""
    ranges = [media(item) for item in accept.split(",") if item.strip()] or [Media("*/*", {})]
    named = {TYPES.get(one.type) for one in ranges if not one.fault}
    wide = {one.type: (place, one) for place, one in enumerate(ranges) if not one.fault}
    for place, one in enumerate(ranges):
        if one.type in TYPES and not one.fault:
            yield one.quality, place, one
    rest = wide.get("application/*") or wide.get("*/*") or wide.get("*")
    if rest:
        for behind, name in enumerate(one for one in _ANYWAY if one not in named):
            yield rest[1].quality, rest[0] + behind / 2, Media(OFFICIAL[name], rest[1].params)


def viewed(request: Request) -> tuple[Request, View]:
    """Take `_format` and `_pretty` out of the query; raise NotAcceptable for what cannot be answered."""
    look = [pair for pair in request.query if pair[0] in _LOOK]
    gzip = takes_gzip(request.headers.get("accept-encoding", ""))
    if look:
        kept = [pair for pair in request.query if pair[0] not in _LOOK]
        request = msgspec.structs.replace(request, query=kept, look=look)
    return request, _view(request.headers.get("accept", ""), look, gzip)


def viewed_form(request: Request, view: View) -> tuple[Request, View]:
    """Take `_format` and `_pretty` out of the form of a POST _search, which may hold them as well as the address."""
    if b"format=" not in request.body and b"pretty=" not in request.body:
        return request, view
    form = parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
    look = [*request.look, *(pair for pair in form if pair[0] in _LOOK)]
    body = urlencode([pair for pair in form if pair[0] not in _LOOK]).encode()
    whole = msgspec.structs.replace(request, body=body, look=look)
    return whole, _view(request.headers.get("accept", ""), look, view.gzip)


def _view(accept: str, look: list[tuple[str, str]], gzip: bool) -> View:
    given = dict(look)
    # A plus sign in ?_format=application/fhir+json arrives as a blank.
    asked = given.get("_format", "").strip().replace(" ", "+")
    name, kind = accepted(_spelled(asked) if asked else accept, bool(asked))
    return View(name, kind, given.get("_pretty") == "true", gzip)


def _spelled(asked: str) -> str:
    """Return the media type for one of the short names that `_format` takes."""
    return next((kind for short, kind in OFFICIAL.items() if short == asked.lower()), asked)


def body_type(request: Request) -> str:
    """Return the media type of the body; raise UnsupportedMedia for another character set or version of FHIR."""
    kind = media(request.headers.get("content-type", ""))
    if fault := kind.fault:
        raise UnsupportedMedia(fault)
    return kind.type
