"""Sealed places: where a page of an operation ended, signed so that it resumes that operation and no other.

http://hl7.org/fhir/R4/http.html#paging
"""

from __future__ import annotations

import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Any

import msgspec

_PLACE = struct.Struct("!qq")
_SIGNATURE = 16


class Seal:
    """Signs and opens places with the installation's secret."""

    def __init__(self, secret: bytes) -> None:
        if not secret:
            raise ValueError("sealing needs the installation's secret")
        self._key = blake2b(secret, digest_size=32, person=b"concord-seals").digest()

    def close(self, place: tuple[int, int], bound: Any) -> str:
        """Return the text of a place, good only together with `bound`: tenant, subject, address, query."""
        packed = _PLACE.pack(*place)
        return urlsafe_b64encode(packed + self._signature(packed, bound)).decode()

    def open(self, text: str, bound: Any) -> tuple[int, int] | None:
        """Return the place, or None where the text was changed or was made for something else."""
        try:
            token = urlsafe_b64decode(text.encode("ascii"))
        except ValueError:
            return None
        packed, signature = token[: _PLACE.size], token[_PLACE.size :]
        if len(packed) < _PLACE.size or not hmac.compare_digest(signature, self._signature(packed, bound)):
            return None
        first, second = _PLACE.unpack(packed)
        return first, second

    def _signature(self, packed: bytes, bound: Any) -> bytes:
        return blake2b(packed + msgspec.json.encode(bound), digest_size=_SIGNATURE, key=self._key).digest()
