"""The index entries of elements that repeat and hold values of a composite: a row or a few for each element.

http://hl7.org/fhir/R4/search.html#composite

A row's `key` is the hash of the codes and references together, in the form that is searched most (a code of any
system), and of the unit; its numbers and dates stand beside it, so that one range of one index finds them. `keys` has
every form of the codes, and the names of the unit, for those who ask for more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice, product
from typing import Any

from msgspec import UNSET

from conformance.fhirpath import Branch
from conformance.search_params import SearchParam
from fhir_server.search import text
from fhir_server.search.composite_parts import DISCRETE, ORDERED, Within
from fhir_server.search.date import INTERVALS
from fhir_server.search.number import SPANS
from fhir_server.search.quantity import named
from fhir_server.search.reference import REFERENCES, URIS, Place
from fhir_server.search.text import STRINGS
from fhir_server.search.token import HASHES, LOOSE, present

# (key, lo, hi, lo2, hi2, value, keys): what stands in idx_composite.
Row = tuple[int, float, float, float, float, str, str]
# Rows of one element: many codings times many codings would be without bound.
MAX_ROWS = 256
# A part's forms in `key`, with the range and the text that stand beside; and all its hashes.
_Form = tuple[object, tuple[float, float] | None, str]
_Read = tuple[list[_Form], Iterable[int]]
_NO_RANGE = (0.0, 0.0)


def rows_of(within: Within) -> Callable[[Place, dict[str, int], Any], Iterable[Row]]:
    """Return what gives the rows of an element; it takes the salts of the type in the tenant by name."""
    readers = [
        (_READERS[param.kind](param), within.salt_of(number))
        for number, (param, outside) in enumerate(zip(within.parts, within.outside, strict=True))
        if not outside
    ]
    name = within.name

    def rows(place: Place, salts: dict[str, int], item: Any) -> Iterable[Row]:
        forms: list[list[_Form]] = []
        hashes: set[int] = set()
        for read, salt_name in readers:
            part_forms, part_hashes = read(place, item)
            if not part_forms:
                return
            salt = salts[salt_name]
            forms.append(part_forms)
            hashes.update(found ^ salt for found in part_hashes)
        for chosen in islice(product(*forms), MAX_ROWS):
            identities = [form[0] for form in chosen]
            key = place.hasher.together(name, identities) ^ salts[name]
            yield _row(key, chosen, hashes | {scale_key(place, identities) ^ salts[name]})

    return rows


def scale_key(place: Place, identities: Iterable[object]) -> int:
    """Return the hash, among the keys of a row, of the units in which its numbers stand, before the element's salt."""
    return place.hasher.token_hash("scale", "|".join(form for form in identities if isinstance(form, str)))


def unit_key(place: Place, unit: str) -> int:
    """Return the hash of a unit's name among the keys of a row, before the salt of its part."""
    return place.hasher.token_hash("unit", unit)


def seconds(moment: datetime) -> float:
    """Return a moment as it stands beside a key."""
    return moment.timestamp()


def _row(key: int, chosen: tuple[_Form, ...], hashes: set[int]) -> Row:
    ranges = [form[1] for form in chosen if form[1]]
    first, second = [*ranges, _NO_RANGE, _NO_RANGE][:2]
    value = "".join(form[2] for form in chosen)
    return (key, *first, *second, value, "{" + ",".join(map(str, sorted(hashes))) + "}")


_Reader = Callable[[Place, Any], _Read]


def _values(param: SearchParam) -> Callable[[Any], Iterator[tuple[str, Any]]]:
    """Return what gives the values of a part in an element, with their types."""
    found: tuple[Branch, ...] = param.branches

    def values(item: Any) -> Iterator[tuple[str, Any]]:
        for branch in found:
            start = getattr(item, branch.attribute) if branch.attribute else item
            if start is not UNSET:
                for value in branch.values(start):
                    yield branch.type, value

    return values


def _token(param: SearchParam) -> _Reader:
    values = _values(param)

    def read(place: Place, item: Any) -> _Read:
        loose: dict[int, None] = {}
        hashes: list[int] = []
        for kind, value in values(item):
            loose.update(dict.fromkeys(LOOSE[kind](place.hasher, value)))
            hashes += HASHES[kind](place.hasher, value)
        # A system without a code is found by `system|` alone.
        forms = list(loose) or ([present(place.hasher)] if hashes else [])
        return [(form, None, "") for form in forms], hashes

    return read


def _place(table: dict[str, Callable[[Place, Any], list[int]]]) -> Callable[[SearchParam], _Reader]:
    def make(param: SearchParam) -> _Reader:
        values = _values(param)

        def read(place: Place, item: Any) -> _Read:
            hashes = list(dict.fromkeys(h for kind, value in values(item) for h in table[kind](place, value)))
            return [(form, None, "") for form in hashes], hashes

        return read

    return make


def _number(param: SearchParam) -> _Reader:
    values = _values(param)

    def read(place: Place, item: Any) -> _Read:
        return [("", span, "") for kind, value in values(item) for span in SPANS[kind](value)], ()

    return read


def _date(param: SearchParam) -> _Reader:
    values = _values(param)

    def read(place: Place, item: Any) -> _Read:
        found = [interval for kind, value in values(item) for interval in INTERVALS[kind](value)]
        return [("", (seconds(lo), seconds(hi)), "") for lo, hi in found], ()

    return read


def _quantity(param: SearchParam) -> _Reader:
    values = _values(param)

    def read(place: Place, item: Any) -> _Read:
        forms: list[_Form] = []
        hashes: list[int] = []
        for kind, value in values(item):
            spans = SPANS[kind](value)
            forms += [("", span, "") for span in spans]
            for name, lo, hi in named(value, spans):
                hashes.append(unit_key(place, name))
                if not name.startswith("||"):
                    forms.append((name, (lo, hi), ""))
        return forms, hashes

    return read


def _string(param: SearchParam) -> _Reader:
    values = _values(param)

    def read(place: Place, item: Any) -> _Read:
        found = [entry for kind, value in values(item) for entry in text.entries(STRINGS[kind](value))]
        return [("", None, entry) for entry in found], ()

    return read


_READERS: dict[str, Callable[[SearchParam], _Reader]] = {
    "token": _token,
    "reference": _place(REFERENCES),
    "uri": _place(URIS),
    "number": _number,
    "quantity": _quantity,
    "date": _date,
    "string": _string,
}
assert set(_READERS) == DISCRETE | ORDERED | {"string"}
