"""The stored bytes: the client's own text with id and meta set by the server."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from fhir_server.interactions.body import instant, members_of, stamped

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)


def stamp(text: str) -> str:
    return stamped(members_of(text.encode()), "Observation", "o1", 3, NOW).decode()


def test_resource_type_id_and_meta_come_first_and_the_rest_keeps_its_digits_and_order() -> None:
    out = stamp('{"status":"final","valueQuantity":{"value":1.500,"x":1e-7},"resourceType":"Observation","id":"mine"}')
    assert out == (
        '{"resourceType":"Observation","id":"o1","meta":{"versionId":"3","lastUpdated":"2026-01-02T03:04:05.678Z"},'
        '"status":"final","valueQuantity":{"value":1.500,"x":1e-7}}'
    )


def test_the_clients_profile_tag_and_source_stay_in_meta() -> None:
    meta = {"versionId": "9", "profile": ["http://p"], "source": "#x", "_lastUpdated": {"id": "a"}}
    out = json.loads(stamp(json.dumps({"resourceType": "Observation", "meta": meta})))
    assert out["meta"] == {
        "versionId": "3",
        "lastUpdated": "2026-01-02T03:04:05.678Z",
        "profile": ["http://p"],
        "source": "#x",
    }


@given(st.dictionaries(st.text(st.characters(codec="ascii", categories=["L"]), min_size=1), st.text() | st.integers()))
def test_every_other_member_comes_back_as_it_was(members: dict[str, object]) -> None:
    members = {k: v for k, v in members.items() if k not in ("resourceType", "id", "meta")}
    out = json.loads(stamp(json.dumps(members)))
    assert {k: v for k, v in out.items() if k not in ("resourceType", "id", "meta")} == members


def test_stamping_again_with_the_same_version_changes_nothing() -> None:
    once = stamp('{"resourceType":"Observation","status":"final"}')
    assert stamp(once) == once


def test_an_instant_is_utc_with_milliseconds() -> None:
    assert instant(NOW.astimezone(timezone(timedelta(hours=-5)))) == "2026-01-02T03:04:05.678Z"
