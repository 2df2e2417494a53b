"""The permission matrix for the six roles: what each may see stands in tests/security/roles.py, said once more."""

from __future__ import annotations

import pytest

from conformance.structures import STORABLE
from fhir_server.context import Role
from tests.security.asked import Asked, asked_by
from tests.security.roles import APART, CLINICAL, NAMES, members
from tests.security.world import WORD, Row, rows


@pytest.fixture(scope="module")
def asked(server_dsn: str) -> Asked:
    """Ask everything as a member in each of the six roles."""
    return asked_by(server_dsn, members)


@pytest.mark.parametrize("role", NAMES)
def test_no_answer_shows_counts_or_does_what_a_role_must_not(asked: Asked, role: Role) -> None:
    assert asked.findings(role) == []
    assert asked.results[role].asked > 800


def test_nothing_that_a_role_may_not_write_was_written(asked: Asked) -> None:
    assert asked.unchanged


def test_no_line_of_the_log_holds_a_word_of_any_record(asked: Asked) -> None:
    assert WORD.findall(asked.logged.encode()) == []


SEEN: dict[Role, list[str]] = {
    "super-admin": [],
    "clinic-admin": ["one/Observation", "two/Observation", "two/Invoice", "nobody/Binary", "nobody/Practitioner"],
    "physician": ["one/Observation", "sealed/Observation", "one/Patient", "one/PatientSsn", "nobody/Practitioner"],
    "biller": ["one/Observation", "two/Observation", "two/Invoice", "two/Patient", "two/EpisodeOfCare"],
    "front-desk": ["one/Patient", "two/Patient", "two/EpisodeOfCare", "two/Appointment", "two/Invoice"],
    "attorney": ["one/Patient", "one/EpisodeOfCare", "one/Observation", "nobody/Practitioner"],
}


@pytest.mark.parametrize("role", NAMES)
def test_a_role_sees_what_is_its_own_by_these_very_requests(asked: Asked, role: Role) -> None:
    seen = asked.results[role].seen
    assert {Row("here", *name.split("/")) for name in SEEN[role]} <= seen
    if role == "super-admin":
        assert seen == set()
    if role == "clinic-admin":
        assert {row for row in rows("here") if row.owner != "sealed"} <= seen


def test_every_type_is_of_some_kind_that_the_roles_know() -> None:
    assert set(STORABLE) >= CLINICAL
    assert not CLINICAL & APART
