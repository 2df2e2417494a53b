"""From a resource to its index entries. http://hl7.org/fhir/R4/search.html#ptypes"""

from __future__ import annotations

from typing import Any

import pytest

from conformance.r4.types import TYPE_CODES
from conformance.structures import Refused, decode, resource_type_of
from fhir_server.search.kinds import COLUMNS, WRITERS, Entries
from fhir_server.search.match import LEAVES
from tests.conformance.examples import package_resources
from tests.search.world import BASE, TENANT, hasher, index, indexer, registry

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "identifier": [{"system": "urn:a", "value": "1"}, {"value": "2"}, {"system": "urn:empty"}],
    "name": [{"family": "Muster", "given": ["Anna"]}],
    "birthDate": "1980-02-03",
    "generalPractitioner": [{"reference": "Practitioner/p", "identifier": {"system": "urn:a", "value": "3"}}],
}


def test_every_type_of_value_of_every_parameter_has_its_place_in_the_tables() -> None:
    for name in TYPE_CODES:
        for param in registry().for_type(name).values():
            make = WRITERS.get(param.kind)
            if make is None:
                assert param.kind in ("composite", "special")
                continue
            for branch in param.branches:
                assert make(name, branch, [param.code])


def test_what_can_be_searched_is_indexed() -> None:
    assert set(LEAVES) <= set(WRITERS)


def test_a_resource_is_indexed_by_all_that_it_says() -> None:
    entries = index(PATIENT)
    assert entries.self_key == hasher().self_key(TENANT, "Patient", "1")
    assert {text for _, text in entries.strings} == {"muster\x1fMuster", "anna\x1fAnna"}
    assert len(entries.strings) == 6  # each as a name, as a phonetic one, and as a family or given name
    assert len(entries.dates) == 1
    assert entries.numbers == []
    assert entries.keys == sorted(set(entries.keys))


def test_id_and_last_update_are_columns_and_not_entries() -> None:
    assert {"_id", "_lastUpdated"} == COLUMNS
    plain = index({"resourceType": "Basic", "code": {"text": "x"}})
    dated = {"id": "7", "lastUpdated": "2024-01-01T00:00:00Z"}
    full = index(
        {"resourceType": "Basic", "code": {"text": "x"}, "id": "7", "meta": {"lastUpdated": dated["lastUpdated"]}}
    )
    assert full.keys == plain.keys
    assert full.dates == plain.dates == []


def test_identifiers_with_a_value_are_locked_in_order_and_no_others() -> None:
    salted = [hasher().token(TENANT, "Patient", "identifier", *pair) for pair in (("urn:a", "1"), ("", "2"))]
    entries = index(PATIENT)
    assert entries.locks == sorted(salted)
    assert set(entries.locks) <= set(entries.keys)


def test_a_null_in_a_list_of_names_is_passed_over() -> None:
    entries = index({**PATIENT, "name": [{"given": [None, "Anna"], "_given": [{"id": "x"}, None]}]})
    assert {text for _, text in entries.strings} == {"anna\x1fAnna"}


def test_long_intervals_stand_under_a_number_of_their_own() -> None:
    short = index({"resourceType": "Patient", "birthDate": "1980-02"}).dates
    long = index({"resourceType": "Patient", "birthDate": "1980"}).dates
    assert short[0][0] != long[0][0]


def test_the_same_resource_gives_the_same_entries_each_time() -> None:
    assert index(PATIENT) == index(PATIENT)


def test_an_empty_resource_has_entries_too() -> None:
    entries = index({"resourceType": "Organization", "active": True})
    assert entries == Entries(
        self_key=hasher().self_key(TENANT, "Organization", "1"),
        keys=sorted(hasher().token(TENANT, "Organization", "active", None, code) for code in ("true", None)),
        dates=[],
        strings=[],
        numbers=[],
        composites=[],
        words=[],
        patient=None,
        class_=1,
        locks=[],
    )


def test_every_example_of_the_specification_can_be_indexed() -> None:
    number = found = 0
    for _, data in package_resources():
        number += 1
        # Every third keeps the run short and still meets all types.
        if number % 3:
            continue
        try:
            kind = resource_type_of(data)
            resource = decode(kind, data)
        except Refused:
            continue
        entries = indexer().entries(TENANT, BASE, kind, "x", resource)
        assert all(text for _, text in entries.strings)
        assert all(lo <= hi for _, lo, hi in entries.numbers)
        found += len(entries.keys)
    assert found > 10_000


@pytest.mark.parametrize("name", sorted(TYPE_CODES)[::12])
def test_a_type_is_indexed_by_its_own_parameters_alone(name: str) -> None:
    assert all(param.base == name for param in registry().for_type(name).values())
