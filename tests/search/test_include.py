"""What `_include=*` follows: R4's references, and a tenant's own once they can be searched and nothing is veiled."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from conformance.search_params import Registry
from fhir_server.search.definition import Definition
from fhir_server.search.hashing import Hasher
from fhir_server.search.include import parse
from fhir_server.search.kinds import Indexer
from fhir_server.search.own import Known, Own, known

URL = "https://clinic.example/buddy"


def one_of_its_own(*, ready: bool) -> Known:
    """Return what a tenant with an own reference of Patient has."""
    registry, hasher = Registry.r4(), Hasher(b"test")
    made = Definition(URL, "buddy", "reference", ("Patient",), f"Patient.extension('{URL}').value", ("Patient",))
    return known(registry, Indexer(registry, hasher), hasher, 1, [Own("1", 1, made, ready)])


@pytest.mark.parametrize(
    ("ready", "veiled", "followed"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"Observation": frozenset(("code",))}, True),
        (True, {"Patient": frozenset(("identifier",))}, False),
    ],
)
def test_all_references_are_those_of_r4_and_own_ones_that_may_be_searched(
    ready: bool, veiled: Mapping[str, frozenset[str]], followed: bool
) -> None:
    tenant = one_of_its_own(ready=ready)
    assert tenant.broken == []
    watched = tenant.watched(veiled)
    links = parse(watched, "_include", "*").links
    assert watched.touched
    assert ("buddy" in links["Patient"]) == followed
    assert {"general-practitioner", "link", "organization"} <= set(links["Patient"])
    assert {"subject", "encounter"} <= set(links["Observation"])
    assert "code" not in links["Observation"]
