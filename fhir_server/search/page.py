"""The opaque cursor of a next link: where a page ended, signed for one tenant, type, query and subject.

http://hl7.org/fhir/R4/http.html#paging
"""

from __future__ import annotations

import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import msgspec

from fhir_server.errors import Invalid
from fhir_server.search.request import Position, SearchRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Microseconds since 1970, and the row.
_PLACE = struct.Struct("!qq")
_SIGNATURE = 16
# A page may be larger than the last, and show another total, without being of another query.
_NOT_OF_THE_QUERY = frozenset(("_count", "_total", "_cursor"))


class Pager:
    """Signs and opens cursors with the installation's secret."""

    def __init__(self, secret: bytes) -> None:
        if not secret:
            raise ValueError("signing needs the installation's secret")
        self._key = blake2b(secret, digest_size=32, person=b"concord-pages").digest()

    def sign(self, request: SearchRequest, tenant_id: int, subject: str, row: Sequence[Any]) -> str:
        """Return the cursor that resumes `request` after `row`, a row of `plan.select`."""
        place = _PLACE.pack((row[3] - _EPOCH) // _MICROSECOND, row[0])
        return urlsafe_b64encode(place + self._signature(place, request, tenant_id, subject)).decode()

    def resume(self, request: SearchRequest, tenant_id: int, subject: str) -> SearchRequest:
        """Return the request with `after` set from its cursor, or itself where it has none.

        Raises Invalid where the cursor was changed, or was made for another tenant, type, query or subject.
        """
        if request.cursor is None:
            return request
        place = self._opened(request.cursor, request, tenant_id, subject)
        if place is None:
            raise Invalid("_cursor does not belong to this search: start again without it", "http._cursor")
        microseconds, rid = _PLACE.unpack(place)
        after = Position(_EPOCH + microseconds * _MICROSECOND, rid)
        return msgspec.structs.replace(request, after=after)

    def _opened(self, cursor: str, request: SearchRequest, tenant_id: int, subject: str) -> bytes | None:
        try:
            token = urlsafe_b64decode(cursor.encode("ascii"))
        except ValueError:
            return None
        # Base64 has several spellings of the same bytes, and a decoder that skips what it does not know.
        if urlsafe_b64encode(token).decode() != cursor:
            return None
        place, signature = token[: _PLACE.size], token[_PLACE.size :]
        expected = self._signature(place, request, tenant_id, subject)
        return place if hmac.compare_digest(signature, expected) else None

    def _signature(self, place: bytes, request: SearchRequest, tenant_id: int, subject: str) -> bytes:
        query = [pair for pair in request.applied if pair[0] not in _NOT_OF_THE_QUERY]
        bound = msgspec.json.encode((tenant_id, subject, request.type, query, request.sort))
        return blake2b(place + bound, digest_size=_SIGNATURE, key=self._key).digest()
