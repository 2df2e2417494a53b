"""The page token of a search: where a page ended, sealed for one tenant, query and subject.

http://hl7.org/fhir/R4/http.html#paging
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from fhir_server.errors import Invalid
from fhir_server.search import order
from fhir_server.search.request import Position, SearchRequest
from fhir_server.search.seal import Seal
from fhir_server.search.sort import Kind, Sort

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# A page may be larger than the last, and show another total, without being of another query.
NOT_OF_THE_QUERY = frozenset(("_count", "_total", "_cursor"))
_ROW_COLUMN: dict[Kind, int] = {"updated": 3, "id": 1}
_MOMENTS = frozenset(("updated", "date"))


class Pager:
    """Seals and opens page tokens with the installation's secret."""

    def __init__(self, secret: bytes) -> None:
        self._seal = Seal(secret)

    def sign(self, request: SearchRequest, tenant_id: int, subject: str, row: Sequence[Any]) -> str:
        """Return the token that resumes `request` after `row`, a row of `plan.select`."""
        place = (_values(request.sort, row), row[0], row[1])
        return self._seal.close(place, _bound(request, tenant_id, subject))

    def resume(self, request: SearchRequest, tenant_id: int, subject: str) -> SearchRequest:
        """Return the request with `after` set from its cursor, or itself where it has none.

        Raises Invalid where the cursor was changed, or was made for another tenant, type, query or subject.
        """
        if request.cursor is None:
            return request
        bound = _bound(request, tenant_id, subject)
        place = self._seal.open(request.cursor, bound, tuple[list[int | float | str | None], int, str])
        if place is None:
            raise Invalid("_cursor does not belong to this search: start again without it", "http._cursor")
        values, rid, resource_id = place
        moments = [key.kind in _MOMENTS for key in request.sort]
        found = tuple(_moment(v) if is_moment else v for v, is_moment in zip(values, moments, strict=True))
        return msgspec.structs.replace(request, after=Position(found, rid, resource_id))


def _bound(request: SearchRequest, tenant_id: int, subject: str) -> tuple[Any, ...]:
    query = [pair for pair in request.applied if pair[0] not in NOT_OF_THE_QUERY]
    # The kind too: a tenant may define its own parameter anew between two pages.
    return (
        "search",
        tenant_id,
        subject,
        request.type,
        query,
        [(key.code, key.descending, key.kind) for key in request.sort],
    )


def _values(sort: Sequence[Sort], row: Sequence[Any]) -> list[Any]:
    """Return what a row has of each sort key, moments as microseconds since 1970."""
    behind = {at: 7 + place for place, at in enumerate(order.behind(sort))}
    found = (row[behind.get(at, _ROW_COLUMN.get(key.kind, 0))] for at, key in enumerate(sort))
    return [(value - _EPOCH) // _MICROSECOND if isinstance(value, datetime) else value for value in found]


def _moment(value: Any) -> datetime | None:
    return None if value is None else _EPOCH + value * _MICROSECOND
