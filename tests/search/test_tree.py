"""The search tree: what is gathered, what falls away. http://hl7.org/fhir/R4/search.html"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fhir_server.search.kinds import Entries
from fhir_server.search.tree import (
    AllKeys,
    And,
    AnyKey,
    Everything,
    IdIn,
    Not,
    Nothing,
    OfPatient,
    Or,
    StringStarts,
    Tree,
    all_of,
    any_of,
)
from tests.search.world import holds

LEAVES: st.SearchStrategy[Tree] = st.one_of(
    st.just(Everything()),
    st.just(Nothing()),
    st.lists(st.integers(1, 4), min_size=1, max_size=3).map(lambda keys: AllKeys(tuple(keys))),
    st.lists(st.integers(1, 4), min_size=1, max_size=3).map(lambda keys: AnyKey(tuple(keys))),
    st.sampled_from("ab").map(lambda text: StringStarts(1, text)),
    st.lists(st.sampled_from("12"), min_size=1).map(lambda ids: IdIn(tuple(ids))),
    st.integers(1, 2).map(OfPatient),
)
TREES: st.SearchStrategy[Tree] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: Or(tuple(parts))),
        inner.map(Not),
    ),
    max_leaves=6,
)
ROWS = st.builds(
    Entries,
    self_key=st.just(0),
    keys=st.lists(st.integers(1, 4)),
    dates=st.just([]),
    strings=st.lists(st.sampled_from("ab").map(lambda text: (1, text))),
    numbers=st.just([]),
    patient=st.integers(1, 3),
    class_=st.just(2),
    locks=st.just([]),
)


@given(st.lists(TREES, max_size=4), ROWS)
def test_all_of_means_that_each_holds(trees: list[Tree], row: Entries) -> None:
    assert holds(all_of(trees), row) == all(holds(tree, row) for tree in trees)


@given(st.lists(TREES, max_size=4), ROWS)
def test_any_of_means_that_one_holds(trees: list[Tree], row: Entries) -> None:
    assert holds(any_of(trees), row) == any(holds(tree, row) for tree in trees)


def test_keys_of_nested_ands_become_one_condition() -> None:
    assert all_of([AllKeys((1,)), And((AllKeys((2, 1)), Everything()))]) == AllKeys((1, 2))


def test_single_keys_of_an_or_become_one_condition() -> None:
    assert any_of([AllKeys((1,)), Or((AnyKey((2, 3)), AllKeys((1,))))]) == AnyKey((1, 2, 3))
    assert any_of([AllKeys((1, 2)), AllKeys((3,))]) == Or((AllKeys((3,)), AllKeys((1, 2))))


def test_nothing_ends_an_and_and_everything_ends_an_or() -> None:
    assert all_of([AllKeys((1,)), Nothing()]) == Nothing()
    assert any_of([AllKeys((1,)), Everything()]) == Everything()
    assert (all_of([]), any_of([])) == (Everything(), Nothing())
