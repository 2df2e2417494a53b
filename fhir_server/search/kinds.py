"""From a resource to its index entries, by tables: kind of parameter and FHIR type of value to what is indexed.

http://hl7.org/fhir/R4/search.html#ptypes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import UNSET

from conformance.fhirpath import Branch
from conformance.search_params import Registry, SearchParam
from fhir_server.search import care, text
from fhir_server.search.composite_index import Row, rows_of
from fhir_server.search.composite_parts import Within, composite
from fhir_server.search.consent import label_keys
from fhir_server.search.date import INTERVALS, LONGEST, Interval
from fhir_server.search.hashing import Hasher, param_id
from fhir_server.search.number import SPANS, Span
from fhir_server.search.ownership import class_of, patient_branches, patient_of
from fhir_server.search.quantity import named
from fhir_server.search.reference import REFERENCES, URIS, Place
from fhir_server.search.secured import secure
from fhir_server.search.text import STRINGS
from fhir_server.search.token import HASHES, TEXTS, identifier, of_type, present
from fhir_server.search.unsigned import doc_status
from fhir_server.search.words import vector

# Columns of the row itself answer these.
COLUMNS = frozenset(("_id", "_lastUpdated"))
_IDENTIFIER = "identifier"


class Entries(msgspec.Struct):
    """What the index says of one resource.

    `keys` are tokens, references and URIs, and `patient` too; `dates`, `strings` and `numbers` are rows of the narrow
    tables, each led by its param_id; `composites` are rows of elements that repeat, by composite_index.py;
    `words` is the full text, one row or none;
    `patient` is the self_key of the Patient whose compartment it is in; `locks` are
    the keys of its identifiers, sorted, for writers that must not make two of one;
    `links` are the encounters, cases and orders that tell which case it belongs to.
    """

    self_key: int
    keys: list[int]
    dates: list[tuple[int, datetime, datetime]]
    strings: list[tuple[int, str]]
    numbers: list[tuple[int, float, float]]
    composites: list[Row]
    words: list[tuple[str]]
    patient: int | None
    class_: int
    locks: list[int]
    links: list[care.Link] = []


class _Sheet:
    """Entries while they are gathered."""

    __slots__ = ("composites", "dates", "keys", "locks", "numbers", "place", "salts", "strings")

    def __init__(self, place: Place, salts: dict[str, int]) -> None:
        self.place, self.salts = place, salts
        self.keys: set[int] = set()
        self.locks: set[int] = set()
        self.dates: list[tuple[int, datetime, datetime]] = []
        self.strings: set[tuple[int, str]] = set()
        self.numbers: list[tuple[int, float, float]] = []
        self.composites: set[Row] = set()


# Puts on the sheet what stands under one element (or, for a path without one, the resource).
_Writer = Callable[[_Sheet, Any], None]


class _Plan(msgspec.Struct, frozen=True):
    """How one resource type is indexed: by element, only those that are there."""

    codes: tuple[str, ...]
    whole: tuple[_Writer, ...]
    elements: Callable[[Any], Any]
    writers: tuple[tuple[_Writer, ...], ...]
    patient: tuple[Branch, ...]
    linked: bool


class Indexer:
    """Makes the index entries of resources. The registry compiled the paths; how a type is walked is laid out once."""

    def __init__(self, registry: Registry, hasher: Hasher, remembered: int = 4096, most_words: int = 5000) -> None:
        self.most_words = most_words
        self._registry = registry
        self._hasher = hasher
        self._plan = lru_cache(maxsize=None)(self._made_plan)
        self._salts = lru_cache(maxsize=remembered)(self._made_salts)

    def entries(self, tenant_id: int, base: str, resource_type: str, resource_id: str, resource: Any) -> Entries:
        """Return the entries of a decoded resource; `base` is the tenant's FHIR base, without a final slash."""
        plan = self._plan(resource_type)
        place = Place(self._hasher, tenant_id, base)
        sheet = _Sheet(place, self._salts(tenant_id, resource_type))
        for write in plan.whole:
            write(sheet, resource)
        for start, writers in zip(plan.elements(resource), plan.writers, strict=True):
            if start is not UNSET:
                for write in writers:
                    write(sheet, start)
        self_key = self._hasher.self_key(tenant_id, resource_type, resource_id)
        owner = self_key if resource_type == "Patient" else patient_of(place, plan.patient, resource)
        if resource_type == "Binary" and resource.securityContext is not UNSET:
            owner = secure(sheet.keys, place, resource.securityContext)
        if resource_type == "DocumentReference" and resource.docStatus is not UNSET:
            sheet.keys.add(doc_status(self._hasher, tenant_id, resource.docStatus))
        if owner is not None:
            # As a key it lets the index find what is of a patient.
            sheet.keys.add(owner)
        sheet.keys.update(label_keys(place, resource_type, resource))
        links = care.links(place, resource_type, resource) if plan.linked else []
        if links:
            salts = care.salts(self._hasher, tenant_id)
            sheet.keys.update([target ^ salts[tier - 1] for target, tier in links])
        return Entries(
            self_key,
            sorted(sheet.keys),
            sheet.dates,
            sorted(sheet.strings),
            sheet.numbers,
            sorted(sheet.composites),
            [(said,)] if (said := vector(tenant_id, resource_type, resource, self.most_words)) else [],
            owner,
            int(class_of(resource_type, resource)),
            sorted(sheet.locks),
            links,
        )

    def _made_salts(self, tenant_id: int, resource_type: str) -> dict[str, int]:
        return {code: self._hasher.salt(tenant_id, resource_type, code) for code in self._plan(resource_type).codes}

    def _made_plan(self, resource_type: str) -> _Plan:
        params = dict(self._registry.for_type(resource_type))
        found = [
            made for param in params.values() if (made := composite(self._registry.specified(resource_type), param))
        ]
        params.update((one.code, one) for made in found for one in made.own)
        within = {one.name: one for made in found for one in made.within}
        by_element: dict[str | None, list[_Writer]] = {}
        for branch, codes in _shared(params.values()):
            by_element.setdefault(branch.attribute, []).extend(_writers(resource_type, branch, codes, params))
        for one in within.values():
            by_element.setdefault(one.element.attribute, []).append(_composite_writer(one))
        whole = tuple(by_element.pop(None, ()))
        names = [name for name, writers in by_element.items() if name and writers]
        salts = [name for param in params.values() for name in salted(param)]
        return _Plan(
            codes=(*salts, *(name for one in within.values() for name in one.salts)),
            whole=whole,
            elements=_getter(names),
            writers=tuple(tuple(by_element[name]) for name in names),
            patient=patient_branches(resource_type, params),
            linked=resource_type in care.LINKED,
        )


def _getter(names: list[str]) -> Callable[[Any], Any]:
    """Return what gives the values of these attributes as a tuple, also where there is only one."""
    if len(names) == 1:
        only = attrgetter(names[0])
        return lambda resource: (only(resource),)
    return attrgetter(*names) if names else lambda resource: ()


def _shared(params: Iterable[SearchParam]) -> list[tuple[Branch, list[str]]]:
    """Return the branches, each with the codes of all parameters of a kind that take it, so that it is walked once."""
    found: dict[tuple[str, str, str, bool], tuple[Branch, list[str]]] = {}
    for param in params:
        if param.code in COLUMNS:
            continue
        for branch in param.branches:
            # The lock of an identifier must not be taken for a parameter that only shares its path.
            key = (branch.path, branch.type, param.kind, param.code == _IDENTIFIER)
            found.setdefault(key, (branch, []))[1].append(param.code)
    return list(found.values())


def _writers(base: str, branch: Branch, codes: list[str], params: Any) -> list[_Writer]:
    """Return the writers of a branch: by the kind of its parameters, from the tables of the kinds."""
    make = WRITERS.get(params[codes[0]].kind)
    return [] if make is None else make(base, branch, codes)


# ---- one maker of writers for each kind -------------------------------------------------------------------------


def _token_writers(base: str, branch: Branch, codes: list[str]) -> list[_Writer]:
    hashes_of, texts_of, number = HASHES[branch.type], TEXTS.get(branch.type), text_param_id(base, branch)

    def write(sheet: _Sheet, start: Any) -> None:
        values = branch.values(start)
        if not values:
            return
        hasher = sheet.place.hasher
        found = [h for value in values for h in hashes_of(hasher, value)]
        found.append(present(hasher))
        for code in codes:
            salt = sheet.salts[code]
            sheet.keys.update([h ^ salt for h in found])
        if texts_of:
            for value in values:
                if texts := texts_of(value):
                    sheet.strings.update([(number, entry) for entry in text.entries(texts)])

    writers: list[_Writer] = [write]
    if branch.type == "Identifier":
        writers.append(_keys_writer(branch, of_type, [f"{code}:of-type" for code in codes]))
        writers += [_lock_writer(branch)] if codes == [_IDENTIFIER] else []
    return writers


def _keys_writer(branch: Branch, hashes_of: Callable[[Hasher, Any], list[int]], names: list[str]) -> _Writer:
    """Return the writer of what few values have, under salts of its own."""

    def write(sheet: _Sheet, start: Any) -> None:
        for value in branch.values(start):
            if hashes := hashes_of(sheet.place.hasher, value):
                sheet.keys.update([found ^ sheet.salts[name] for name in names for found in hashes])

    return write


def _lock_writer(branch: Branch) -> _Writer:
    def write(sheet: _Sheet, start: Any) -> None:
        salt, token_hash = sheet.salts[_IDENTIFIER], sheet.place.hasher.token_hash
        for value in branch.values(start):
            if value.value is not UNSET:
                sheet.locks.add(token_hash("" if value.system is UNSET else value.system, value.value) ^ salt)

    return write


def _place_writers(table: dict[str, Callable[[Place, Any], list[int]]]) -> Callable[..., list[_Writer]]:
    def make(base: str, branch: Branch, codes: list[str]) -> list[_Writer]:
        hashes_of = table[branch.type]

        def write(sheet: _Sheet, start: Any) -> None:
            values = branch.values(start)
            if not values:
                return
            place = sheet.place
            found = [h for value in values for h in hashes_of(place, value)]
            found.append(present(place.hasher))
            for code in codes:
                salt = sheet.salts[code]
                sheet.keys.update([h ^ salt for h in found])

        if branch.type == "Reference":
            return [write, _keys_writer(branch, identifier, [f"{code}:identifier" for code in codes])]
        return [write]

    return make


def _uri_writers(base: str, branch: Branch, codes: list[str]) -> list[_Writer]:
    numbers = [param_id(base, code) for code in codes]

    def write(sheet: _Sheet, start: Any) -> None:
        for value in branch.values(start):
            sheet.strings.update([(number, value[: text.MAX_LENGTH]) for number in numbers])

    return [*_place_writers(URIS)(base, branch, codes), write]


def _date_writers(base: str, branch: Branch, codes: list[str]) -> list[_Writer]:
    intervals_of: Callable[[Any], list[Interval]] = INTERVALS[branch.type]
    numbers = [(param_id(base, code), long_param_id(base, code)) for code in codes]

    def write(sheet: _Sheet, start: Any) -> None:
        for value in branch.values(start):
            for lo, hi in intervals_of(value):
                is_long = hi - lo > LONGEST
                sheet.dates += [(number[is_long], lo, hi) for number in numbers]

    return [write]


def _string_writers(base: str, branch: Branch, codes: list[str]) -> list[_Writer]:
    strings_of = STRINGS[branch.type]
    numbers = [param_id(base, code) for code in codes]

    def write(sheet: _Sheet, start: Any) -> None:
        for value in branch.values(start):
            for entry in text.entries(strings_of(value)):
                sheet.strings.update([(number, entry) for number in numbers])

    return [write]


def _number_writers(base: str, branch: Branch, codes: list[str]) -> list[_Writer]:
    spans_of: Callable[[Any], list[Span]] = SPANS[branch.type]
    numbers = [param_id(base, code) for code in codes]

    def write(sheet: _Sheet, start: Any) -> None:
        for value in branch.values(start):
            for lo, hi in spans_of(value):
                sheet.numbers += [(number, lo, hi) for number in numbers]

    return [write]


def _quantity_writers(base: str, branch: Branch, codes: list[str]) -> list[_Writer]:
    spans_of = SPANS[branch.type]

    def write(sheet: _Sheet, start: Any) -> None:
        for value in branch.values(start):
            if spans := spans_of(value):
                sheet.numbers += [(unit_param_id(base, branch, name), lo, hi) for name, lo, hi in named(value, spans)]

    return [*_number_writers(base, branch, codes), write]


def _composite_writer(within: Within) -> _Writer:
    """Return the writer of an element that repeats: each of them has rows of its own."""
    rows = rows_of(within)

    def write(sheet: _Sheet, start: Any) -> None:
        for item in within.element.values(start):
            sheet.composites.update(rows(sheet.place, sheet.salts, item))

    return write


def unit_param_id(resource_type: str, branch: Branch, unit: str) -> int:
    """Return the number under which a path's quantities of a unit stand, for all parameters that take the path."""
    return _unit_param_id(resource_type, branch.path, unit)


@lru_cache(maxsize=4096)
def _unit_param_id(resource_type: str, path: str, unit: str) -> int:
    return param_id(resource_type, f"{path}:unit:{unit}")


def long_param_id(resource_type: str, code: str) -> int:
    """Return the number under which a date parameter's intervals longer than date.LONGEST stand."""
    return param_id(resource_type, f"{code}:long")


def text_param_id(resource_type: str, branch: Branch) -> int:
    """Return the number under which the texts of a path's codes stand, for all parameters that take the path."""
    return param_id(resource_type, f"{branch.path}:text")


def salted(param: SearchParam) -> list[str]:
    """Return the names of the salts that a parameter has: its own, and those of its modifiers."""
    if param.kind == "reference":
        return [param.code, f"{param.code}:identifier"]
    return [param.code, f"{param.code}:of-type"] if "Identifier" in param.types else [param.code]


# Composites are answered by their parts or have rows of their own; `special` parameters have no entries yet.
WRITERS: dict[str, Callable[[str, Branch, list[str]], list[_Writer]]] = {
    "token": _token_writers,
    "reference": _place_writers(REFERENCES),
    "uri": _uri_writers,
    "date": _date_writers,
    "string": _string_writers,
    "number": _number_writers,
    "quantity": _quantity_writers,
}
