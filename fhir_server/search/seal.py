"""Sealed places: where a page ended, in a text that resumes that very search, history or operation and no other.

http://hl7.org/fhir/R4/http.html#paging

A place holds values of a resource, such as a name, and stands in addresses that are logged: it is encrypted as well as
authenticated, by AES-SIV (https://www.rfc-editor.org/rfc/rfc5297), which needs no random number to be safe.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

# Bytes by which a text is longer than its place.
_TAG = 16
_T = TypeVar("_T")


class Seal:
    """Closes and opens places with the installation's secret."""

    def __init__(self, secret: bytes) -> None:
        if not secret:
            raise ValueError("sealing needs the installation's secret")
        self._cipher = AESSIV(blake2b(secret, digest_size=64, person=b"concord-seals").digest())

    def close(self, place: Any, bound: Any) -> str:
        """Return the text of a place, good only together with `bound`: tenant, subject, address, query.

        Both are plain values.
        """
        sealed = self._cipher.encrypt(msgspec.msgpack.encode(place), [msgspec.json.encode(bound)])
        return urlsafe_b64encode(sealed).decode()

    def open(self, text: str, bound: Any, kind: type[_T]) -> _T | None:
        """Return the place, or None where the text was changed or was made for something else."""
        try:
            sealed = urlsafe_b64decode(text.encode("ascii"))
            # Base64 has several spellings of the same bytes, and a decoder that skips what it does not know.
            if len(sealed) <= _TAG or urlsafe_b64encode(sealed).decode() != text:
                return None
            place = self._cipher.decrypt(sealed, [msgspec.json.encode(bound)])
        except (ValueError, InvalidTag):
            return None
        return msgspec.msgpack.decode(place, type=kind)
