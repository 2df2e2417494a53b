"""What a reference's text points at. http://hl7.org/fhir/R4/references.html#literal"""

from __future__ import annotations

import re
from functools import lru_cache
from posixpath import normpath
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from msgspec import UNSET

from conformance.r4.types import TYPE_CODES

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}\Z")
_PORTS = {"http": 80, "https": 443}


class Literal(NamedTuple):
    """A reference of the form `[base/]Type/id[/_history/version]`; `base` is "" for a relative one."""

    base: str
    type: str
    id: str


def literal(text: str) -> Literal | None:
    """Return the parts of a RESTful reference, without its version; None for any other text, such as a URN.

    A server that is asked for the address `Patient/%31/#x` answers with Patient/1, so that is what it names.
    """
    found = _parts(text)
    if (found is None or not _ID.match(found.id)) and not _ODD.isdisjoint(text):
        return _parts(unquote(re.split("[?#]", text.strip(), maxsplit=1)[0]).rstrip("/")) or found
    return found


# One of these stands in every way to write an address that differs from the plain one.
_ODD = frozenset("%?#/ \t\r\n")


def _parts(text: str) -> Literal | None:
    head, _, last = text.partition("/_history/")[0].rpartition("/")
    base, _, resource_type = head.rpartition("/")
    if not last or resource_type not in TYPE_CODES:
        return None
    return Literal(base, resource_type, last)


@lru_cache(maxsize=1024)
def same_base(given: str, own: str) -> bool:
    """Tell whether the base of a reference is `own`, however it is written.

    Letter case of scheme and host, a default port, escapes and dots make no other address:
    https://www.rfc-editor.org/rfc/rfc3986#section-6.2
    """
    try:
        return _plain(urljoin(f"{own}/", f"{unquote(given)}/")) == _plain(own)
    except ValueError:
        return False


def _plain(address: str) -> tuple[str, str, int | None, str]:
    """Return what of an address says where it leads: who asks is no part of it."""
    parts = urlsplit(address)
    path = normpath(re.sub("/+", "/", f"/{unquote(parts.path)}"))
    host = (parts.hostname or "").rstrip(".")
    return parts.scheme, host, parts.port or _PORTS.get(parts.scheme), path


def target_type(reference: Any) -> str | None:
    """Return the resource type that a Reference, or the text of one, points at, as far as it tells by itself."""
    if isinstance(reference, str):
        found = literal(reference)
        return found.type if found else None
    text = getattr(reference, "reference", UNSET)
    if text is not UNSET and (found := literal(text)):
        return found.type
    named = getattr(reference, "type", UNSET)
    return None if named is UNSET else named
