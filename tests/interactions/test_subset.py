"""Resources cut down stay resources. http://hl7.org/fhir/R4/search.html#summary"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from conformance.structures import STORABLE, Refused, decode, resource_type_of
from fhir_server.interactions.body import members_of, stamped
from fhir_server.interactions.subset import Subset, cut
from tests.conformance.examples import package_resources

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def examples() -> dict[str, bytes]:
    """Return the longest example of each type, as it would be stored."""
    found: dict[str, bytes] = {}
    for _, data in package_resources():
        kind = resource_type_of(data)
        if kind in STORABLE and len(data) > len(found.get(kind, b"")) and len(data) < 100_000:
            try:
                decode(kind, data)
            except Refused:
                continue
            found[kind] = data
    return {kind: stamped(members_of(data), kind, "x", 1, NOW) for kind, data in found.items()}


def test_every_type_of_resource_is_still_one_when_it_is_cut() -> None:
    stored = examples()
    assert len(stored) > 130
    for kind, body in stored.items():
        whole = msgspec.json.decode(body)
        for summary in ("true", "text", "data"):
            short = cut(kind, body, Subset(summary))
            decode(kind, short)
            made = msgspec.json.decode(short)
            assert set(made) <= set(whole), kind
            assert ("text" in made) == (summary == "text" and "text" in whole), kind
            assert made["meta"]["tag"][-1]["code"] == "SUBSETTED"


def test_nothing_is_cut_where_nothing_was_asked() -> None:
    body = b'{"resourceType":"Patient","id":"x","meta":{"versionId":"1"},"active":true}'
    assert cut("Patient", body, None) is body
    assert cut("Patient", body, Subset(elements=("Observation.code",))) is body


@pytest.mark.parametrize("digits", ["1.500", "1e3", "0.10"])
def test_a_decimal_keeps_its_digits(digits: str) -> None:
    head = b'{"resourceType":"Observation","id":"x","meta":{"versionId":"1"},"valueQuantity":{"value":'
    body = head + digits.encode() + b"}}"
    for subset in (Subset("true"), Subset("data"), Subset(elements=("value",))):
        assert b'"value":' + digits.encode() in cut("Observation", body, subset)
