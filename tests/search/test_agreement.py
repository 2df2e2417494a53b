"""What a resource says is what finds it: each value that is indexed, asked for in its own words, is found.

http://hl7.org/fhir/R4/search.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from conformance.structures import Refused, decode
from fhir_server.limits import Limits
from fhir_server.search.request import parse
from fhir_server.search.text import fold
from tests.conformance.examples import synthea_bundles
from tests.search.world import BASE, NOW, TENANT, finds, hasher, holds, indexer, registry

CODES = st.text(st.sampled_from("abAB19-. é|,$\\"), min_size=1, max_size=8).map(str.strip).filter(bool)
SYSTEMS = st.one_of(st.none(), st.sampled_from(["urn:a", "http://loinc.org", "http://hl7.org/fhir/x"]))
DAYS = st.dates().map(str)


def escape(text: str) -> str:
    """Return the text as a client writes it."""
    for sign in "\\,$|":
        text = text.replace(sign, f"\\{sign}")
    return text


def coding(system: str | None, code: str) -> dict[str, str]:
    """Return a Coding or, by its keys, the like."""
    return {"system": system, "code": code} if system else {"code": code}


@given(SYSTEMS, CODES.filter(lambda code: "  " not in code))
def test_a_coding_is_found_by_its_own_words(system: str | None, code: str) -> None:
    condition = {"resourceType": "Condition", "subject": {"display": "x"}, "code": {"coding": [coding(system, code)]}}
    assert finds(condition, ("code", escape(code)))
    assert finds(condition, ("code", f"{system or ''}|{escape(code)}"))
    assert finds(condition, ("code", f"nothing,{escape(code)}"))
    assert not finds(condition, ("code", f"{escape(code)}x"))
    assert not finds(condition, ("code", f"urn:other|{escape(code)}"))


@given(SYSTEMS, CODES)
def test_an_identifier_is_found_by_its_own_words_and_locked(system: str | None, value: str) -> None:
    identifier = {"system": system, "value": value} if system else {"value": value}
    patient = {"resourceType": "Patient", "identifier": [identifier]}
    assert finds(patient, ("identifier", f"{system or ''}|{escape(value)}"))
    assert not finds(patient, ("identifier", f"{system or ''}|{escape(value)}x"))


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30), st.integers(1, 30))
def test_a_name_is_found_by_its_start(family: str, length: int) -> None:
    patient = {"resourceType": "Patient", "name": [{"family": family}]}
    start = fold(family)[:length].strip()
    if start:
        assert finds(patient, ("family", escape(start)))
        assert finds(patient, ("name", escape(start)))
        assert not finds(patient, ("family", escape(f"{fold(family)}x")))


@given(DAYS)
def test_a_day_is_found_by_itself_and_by_what_contains_it(day: str) -> None:
    patient = {"resourceType": "Patient", "birthDate": day}
    for value in (day, day[:7], day[:4], f"ge{day}", f"le{day}", f"ap{day}"):
        assert finds(patient, ("birthdate", value))
    for value in (f"ne{day}", f"gt{day}", f"lt{day}", f"sa{day}", f"eb{day}"):
        assert not finds(patient, ("birthdate", value))


def _asked(resource: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield searches in a resource's own words, for the parameters of every Synthea resource that has them."""
    for code in (resource.get("code") or {}).get("coding", []):
        yield "code", f"{code['system']}|{escape(code['code'])}"
    for identifier in resource["identifier"] if isinstance(resource.get("identifier"), list) else []:
        yield "identifier", f"{identifier['system']}|{escape(identifier['value'])}"
    if (subject := resource.get("subject")) and "reference" in subject:
        yield "subject", subject["reference"]
    if date := resource.get("effectiveDateTime"):
        yield "date", date
        yield "date", f"ge{date}"
    if birth := resource.get("birthDate"):
        yield "birthdate", birth
    if status := resource.get("status"):
        yield "status", status
    for name in resource["name"] if resource["resourceType"] == "Patient" else []:
        yield "family", escape(name["family"])


def test_each_synthea_resource_is_found_by_its_own_words_and_not_by_anothers() -> None:
    _, data = next(synthea_bundles())
    checked = missed = 0
    before: tuple[str, str] | None = None
    for entry in msgspec.json.decode(data)["entry"]:
        resource = entry["resource"]
        kind = resource["resourceType"]
        try:
            entries = indexer().entries(TENANT, BASE, kind, "1", decode(kind, msgspec.json.encode(resource)))
        except Refused:
            continue
        for name, value in _asked(resource):
            if name not in registry().for_type(kind):
                continue
            assert _found(kind, name, value, entries), f"{kind}?{name}={value}"
            checked += 1
            if before and before[0] == name and before[1] != value and name in ("identifier", "family"):
                missed += not _found(kind, name, before[1], entries)
            before = (name, value)
    assert checked > 200
    assert missed


def _found(kind: str, name: str, value: str, entries: Any) -> bool:
    request = parse(
        kind,
        [(name, value)],
        tenant_id=TENANT,
        base=BASE,
        registry=registry(),
        hasher=hasher(),
        limits=Limits(),
        now=NOW,
    )
    return holds(request.tree, entries)


@pytest.mark.parametrize("kind", ["Observation", "Patient", "Claim"])
def test_a_resource_is_not_found_under_another_tenants_keys(kind: str) -> None:
    for _, data in synthea_bundles():
        bundle = msgspec.json.decode(data)
        resource = next((e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind), None)
        if resource is None:
            continue
        struct = decode(kind, msgspec.json.encode(resource))
        assert struct.id is not UNSET  # type: ignore[attr-defined]
        mine = indexer().entries(1, BASE, kind, "1", struct)
        theirs = indexer().entries(2, BASE, kind, "1", struct)
        assert mine.keys
        assert not set(mine.keys) & set(theirs.keys)
        return
    pytest.fail("no such resource among the bundles")
