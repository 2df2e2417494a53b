"""Where a browser may be sent back to: addresses that were registered, compared as they stand.

https://www.rfc-editor.org/rfc/rfc9700#section-2.1 · https://www.rfc-editor.org/rfc/rfc8252#section-7
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import SplitResult, urlencode, urlsplit

from fhir_server.errors import Invalid

_LONGEST = 2000
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Of a literal address the port may be another at each start of a native app; localhost may be somebody else's.
_ANY_PORT = ("127.0.0.1", "::1")
# What a browser and this server might read differently: spaces, controls, backslashes, quotes, wildcards.
_PLAIN = re.compile(r"[A-Za-z0-9:/?\[\]@!$&'()+,;=._~%-]+\Z")


def require_address(text: str, what: str) -> str:
    """Return an https address, or an http one of this machine; raise Invalid naming `what` it should have been."""
    found = _split(text, what)
    if found.scheme != "https" and not (found.scheme == "http" and found.hostname in _LOOPBACK):
        raise Invalid(f"{what} {text[:200]!r} is not https; http is for addresses of the app's own machine")
    return text


def require_redirect_uri(text: str, *, native: bool) -> str:
    """Return a redirect URI that may be registered; `native` ones may have a scheme of their own (com.example.app:/).

    Raises Invalid.
    """
    found = _split(text, "redirect URI")
    if native and "." in found.scheme and not found.netloc:
        return text
    return require_address(text, "redirect URI")


def is_registered(given: str, registered: Sequence[str]) -> bool:
    """Tell whether `given` is one of the registered addresses, but for the port of a loopback address."""
    return given in registered or any(_but_for_port(given, one) for one in registered)


def origin_of(address: str) -> str | None:
    """Return scheme, host and port of an address as a browser sends them in Origin; None for another scheme."""
    found = urlsplit(address)
    return f"{found.scheme}://{found.netloc.lower()}" if found.scheme in ("http", "https") else None


def require_origin(text: str) -> str:
    """Return an origin such as https://app.example.org; raise Invalid for what is none."""
    if origin_of(require_address(text, "origin")) != text:
        raise Invalid(f"origin {text[:200]!r} has a scheme, a host in small letters, perhaps a port, and nothing else")
    return text


def with_query(address: str, fields: Mapping[str, str | None]) -> str:
    """Return the address with these fields added to its query; those of None are left out."""
    given = urlencode({name: value for name, value in fields.items() if value is not None})
    return f"{address}{'&' if '?' in address else '?'}{given}"


def _split(text: str, what: str) -> SplitResult:
    try:
        found = urlsplit(text)
        port = found.port
    except ValueError as problem:
        raise Invalid(f"{what} {text[:200]!r} is no address") from problem
    if len(text) > _LONGEST or not _PLAIN.match(text) or port == 0:
        raise Invalid(f"{what} {text[:200]!r} is no address of at most {_LONGEST} plain characters, without a fragment")
    if "@" in found.netloc or not found.scheme or (found.scheme in ("http", "https") and not found.hostname):
        raise Invalid(f"{what} {text[:200]!r} has a scheme and a host, and no user")
    return found


def _but_for_port(given: str, registered: str) -> bool:
    try:
        one, other = _split(given, "address"), _split(registered, "address")
    except Invalid:
        return False
    same = (one.scheme, one.hostname, one.path, one.query) == (other.scheme, other.hostname, other.path, other.query)
    return same and one.scheme == "http" and one.hostname in _ANY_PORT
