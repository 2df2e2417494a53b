"""Codes, refresh tokens, handles, client secrets, sessions and links: 256 random bits, of which only a hash is stored.

https://www.rfc-editor.org/rfc/rfc6749#section-10.10
"""

from __future__ import annotations

import hashlib
import secrets

_BYTES = 32
_LONGEST = 1024


def new() -> str:
    """Return a text that nobody can guess, fit for an address."""
    return secrets.token_urlsafe(_BYTES)


def hashed(text: str) -> bytes:
    """Return what is stored of it. A plain hash does: nobody can try 2^256 texts, as they could passwords."""
    return hashlib.sha256(text[:_LONGEST].encode("utf-8", "surrogatepass")).digest()
