"""Sort keys whose values no index gives in order: tokens and references, which the body alone holds as text.

http://hl7.org/fhir/R4/search.html#sort

Bodies may be encrypted, so no statement can sort by them: all that match are looked through, and the best are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from conformance.r4.types import CODE_TYPES
from conformance.search_params import SearchParam
from conformance.structures import Refused, decode
from fhir_server.search import order, plan
from fhir_server.search.plan import Statement
from fhir_server.search.request import Position, SearchRequest
from fhir_server.search.sort import Sort
from fhir_server.search.tree import Tree

_Texts = Callable[[Any], Iterable[Any]]
Row = tuple[Any, ...]
_BODY, _TYPE, _FIRST = 4, 6, 7


def _one(*path: str) -> _Texts:
    def texts(value: Any) -> Iterable[Any]:
        for name in path:
            value = getattr(value, name)
            if value is UNSET:
                return ()
        return (value,)

    return texts


def _codes(value: Any) -> Iterable[Any]:
    return () if value.coding is UNSET else [coding.code for coding in value.coding]


# By FHIR type, what of a value is compared; the second where no value has the first.
_OF: Mapping[str, tuple[_Texts, ...]] = {
    "Coding": (_one("code"), _one("display")),
    "CodeableConcept": (_codes, _one("text")),
    "Identifier": (_one("value"),),
    "ContactPoint": (_one("value"),),
    "Reference": (_one("reference"), _one("identifier", "value")),
    "Resource": (_one("id"),),
    "Attachment": (_one("url"),),
}
_ITSELF: tuple[_Texts, ...] = (lambda value: (value,),)


class _Down:
    """A value that comes before the lower ones."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Down) -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Down) and bool(other.value == self.value)

    __hash__ = None  # type: ignore[assignment]


def needed(sort: Sequence[Sort]) -> bool:
    """Tell whether an order has a key of which only bodies tell."""
    return any(key.kind == "body" for key in sort)


def numbers(request: SearchRequest, tenant_id: int, restrict: Tree, limit: int) -> Statement:
    """Return the statement for the rids of all that match, one more than `limit` at most."""
    made = plan.found(request, tenant_id, restrict, "resource.rid")
    return Statement(f"{made.sql} limit %s", (*made.params, limit + 1), made.pin)


def rows(request: SearchRequest, tenant_id: int, restrict: Tree, rids: Sequence[int]) -> Statement:
    """Return the statement for those of these rows that still match, with the values of the keys that indexes hold."""
    page = order.Page(request.sort, None, len(rids), tenant_id)
    return Statement(*order.listed(page, plan.matched(request, tenant_id, restrict), rids), True)


class Best:
    """The first `count` rows of an order, after a position, of all that are shown to it."""

    def __init__(self, sort: Sequence[Sort], after: Position | None, count: int) -> None:
        self._sort, self._count = sort, count
        self._after = self._key(after.values, after.id, after.rid) if after else None
        self._kept: list[tuple[Any, Row]] = []

    def add(self, found: Iterable[Row]) -> None:
        """Look at rows of a statement of `rows`; values of keys that stand in the body come to their places."""
        for row in found:
            values = self._values(row)
            key = self._key(values, row[1], row[0])
            if self._after is None or self._after < key:
                behind = [values[at] for at in order.behind(self._sort)]
                self._kept.append((key, (*row[:_FIRST], *behind)))
        self._kept.sort(key=lambda one: one[0])
        del self._kept[self._count :]

    def rows(self) -> list[Row]:
        """Return the rows in their order."""
        return [row for _, row in self._kept]

    def _values(self, row: Row) -> list[Any]:
        resource = _decoded(row)
        indexed = iter(row[_FIRST:])
        columns = {"updated": row[3], "id": row[1]}
        return [
            (None if resource is None else value(key, resource))
            if key.kind == "body"
            else columns[key.kind]
            if key.kind in columns
            else next(indexed)
            for key in self._sort
        ]

    def _key(self, values: Sequence[Any], id_: str, rid: int) -> tuple[Any, ...]:
        """Return what orders as the statements of order.py do: what is missing last, either way."""
        first = self._sort[0]
        last = [id_, rid] if order.walkable(first) and values[0] is None else ["", rid]
        told = [(1,) if v is None else (0, _way(k, v)) for k, v in zip(self._sort, values, strict=True)]
        return (*told, *(_way(first, one) for one in last))


def value(key: Sort, resource: msgspec.Struct) -> str | None:
    """Return the text by which a resource is put in its place; None where it has none."""
    assert key.param is not None
    for rank in (0, 1):
        texts = [_text(key, text) for text in _texts(key.param, resource, rank) if text is not UNSET]
        if texts:
            return max(texts) if key.descending else min(texts)
    return None


def _texts(param: SearchParam, resource: msgspec.Struct, rank: int) -> Iterable[Any]:
    for branch in param.branches:
        start = getattr(resource, branch.attribute) if branch.attribute else resource
        readers = _OF.get(branch.type, _ITSELF)
        if start is not UNSET and rank < len(readers):
            for found in branch.values(start):
                yield from readers[rank](found)


def _text(key: Sort, found: Any) -> str:
    text = str(found).lower() if isinstance(found, bool) else str(found)
    return text.removeprefix(key.own)[: order.LONGEST] if key.own else text[: order.LONGEST]


def _way(key: Sort, found: Any) -> Any:
    return _Down(found) if key.descending else found


def _decoded(row: Row) -> msgspec.Struct | None:
    """Return the resource; None for one that an older version stored and this one cannot read."""
    try:
        return decode(CODE_TYPES[row[_TYPE]], row[_BODY])
    except Refused:
        return None
