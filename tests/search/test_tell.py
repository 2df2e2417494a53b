"""What entries tell of a permission tree: yes, no, or nothing, which is never taken for a yes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.search.tell import tell
from fhir_server.search.tree import (
    AllKeys,
    And,
    AnyKey,
    Everything,
    IdIn,
    InCare,
    Not,
    Nothing,
    OfCases,
    OfClass,
    OfPatient,
    Or,
    Released,
    SelfKeyIn,
    Tree,
)
from tests.search.world import TENANT, hasher, index

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ANNA = hasher().self_key(TENANT, "Patient", "anna")
RESULT: dict[str, Any] = {
    "resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/anna"},
}  # fmt: skip
SEEN = index(RESULT, id_="1")
KNOWN = [Everything(), Nothing(), OfPatient(ANNA), OfPatient(1), OfClass((2,)), OfClass((5,)), AnyKey((ANNA, 1))]
ASKED = [InCare(1, NOW), OfCases(1, NOW), Released(NOW)]


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        (OfPatient(ANNA), True), (OfPatient(ANNA + 1), False), (OfClass((1, 2)), True), (OfClass((5,)), False),
        (AllKeys((ANNA,)), True), (AllKeys((ANNA, 1)), False), (AnyKey((1, ANNA)), True), (IdIn(("1",)), True),
        (IdIn(("2",)), False), (SelfKeyIn((SEEN.self_key,)), True), (SelfKeyIn((1,)), False), (InCare(1, NOW), None),
        (Not(InCare(1, NOW)), None), (And((OfPatient(ANNA), Released(NOW))), None),
        (And((OfPatient(1), Released(NOW))), False), (Or((OfPatient(ANNA), OfCases(1, NOW))), True),
        (Or((OfPatient(1), OfCases(1, NOW))), None),
    ],
)  # fmt: skip
def test_each_leaf_is_told_from_the_entries_or_not_at_all(tree: Tree, told: bool | None) -> None:
    assert tell(tree, "1", SEEN) is told


TREES = st.recursive(
    st.sampled_from([*KNOWN, *ASKED]),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(lambda parts: And(tuple(parts)), st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: Or(tuple(parts)), st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=8,
)


@given(TREES, st.booleans(), st.booleans(), st.booleans())
def test_what_is_told_is_so_whatever_the_database_would_say(tree: Tree, care: bool, case: bool, out: bool) -> None:
    answers = {InCare: care, OfCases: case, Released: out}
    whole = tell(tree, "1", SEEN, lambda leaf: answers[type(leaf)])
    assert whole is not None
    assert tell(tree, "1", SEEN) in (None, whole)
