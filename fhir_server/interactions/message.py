"""A FHIR request and its response, free of any HTTP library, so that a batch entry is one too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from fhir_server.errors import Invalid

FHIR_JSON = "application/fhir+json; charset=utf-8"


class Request(msgspec.Struct, frozen=True):
    """`path` holds the decoded segments after the FHIR base; header names are lower case.

    `look` holds what the client said of the look of the answer: links to other pages say it again. `address` is path
    and query as they came, `peer` whence.
    """

    method: str
    path: tuple[str, ...]
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = {}
    body: bytes = b""
    look: Sequence[tuple[str, str]] = ()
    address: bytes = b""
    peer: str | None = None


class Response(msgspec.Struct, frozen=True):
    """Status, body as FHIR JSON (empty for none) and headers."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")


def require_id(resource_id: str, path: str) -> None:
    """Raise Invalid for an id that FHIR does not allow: http://hl7.org/fhir/R4/datatypes.html#id"""
    if not _ID.match(resource_id):
        raise Invalid(f"'{resource_id[:80]}' is not a FHIR id: 1 to 64 of A-Z a-z 0-9 - .", path)


def preference(request: Request, name: str) -> str | None:
    """Return the value of one preference of the Prefer header, such as `return` (RFC 7240)."""
    for item in request.headers.get("prefer", "").replace(";", ",").split(","):
        key, _, value = item.strip().partition("=")
        if key.lower() == name:
            return value.strip('"')
    return None


def if_match(request: Request) -> int | None:
    """Return the version that If-Match names, or None; raise Invalid for one that is no version of ours."""
    given = request.headers.get("if-match")
    if given is None or given.strip() == "*":
        return None
    text = given.strip().removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Invalid(f'If-Match must name a version, such as W/"3", not {given[:40]!r}')
    return int(text)


def refuse_query(request: Request, path: str) -> None:
    """Raise Invalid for parameters of a write to one resource: they would mean a condition that holds nowhere."""
    for name, _ in request.query:
        told = f"{request.method} of {'/'.join(request.path)[:200]} takes no parameters, but {name[:80]} is given"
        raise Invalid(told, path or f"http.{name[:80]}")


def refuse_conditions(request: Request, *names: str) -> None:
    """Raise Invalid for a conditional header that has no meaning here: to ignore it could do what it forbids."""
    for name in names:
        if name in request.headers:
            told = "-".join(word.capitalize() for word in name.split("-"))
            raise Invalid(f"{told} has no meaning for {request.method} here", f"http.{told}")
