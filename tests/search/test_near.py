"""When the newest rows are looked at first: where what is asked for is common, as far as statistics tell."""

from __future__ import annotations

import pytest

from fhir_server.search import near, plan
from fhir_server.search.tree import AllKeys, AnyKey, Everything, IdIn, Not, Or, Tree
from fhir_server.store.shares import Shares
from tests.search.world import TENANT, search

COMMON, DENSE, UNCOMMON, UNKNOWN = 1, 2, 3, 4
# 10,000 rows are walked at most, so 2,500 that an index finds by a key cost as much.
MILLION = Shares(1_000_000, {COMMON: 0.01, DENSE: 0.5, UNCOMMON: 0.001})


@pytest.mark.parametrize(
    ("tree", "common"),
    [
        (AllKeys((COMMON,)), True),
        (AllKeys((COMMON, DENSE)), True),
        (AllKeys((DENSE, UNCOMMON)), False),
        (AllKeys((UNKNOWN,)), False),
        (AllKeys((DENSE, UNKNOWN)), False),
        (AnyKey((UNCOMMON, COMMON)), True),
        (AnyKey((UNCOMMON, UNKNOWN)), False),
        (AnyKey(tuple(range(100, 500))), True),
        (Or((AllKeys((DENSE,)), IdIn(("1",)))), True),
        (Or((AllKeys((UNKNOWN,)), IdIn(("1",)))), False),
        (Everything(), False),
        (Not(AllKeys((DENSE,))), False),
        (IdIn(("1",)), False),
    ],
)
def test_the_newest_rows_are_walked_only_where_no_condition_is_known_to_be_rare(tree: Tree, common: bool) -> None:
    assert near.common([tree], MILLION) is common
    assert not near.common([tree], Shares())


def test_one_rare_condition_is_enough_to_look_it_up() -> None:
    assert not near.common([AllKeys((DENSE,)), IdIn(("1",))], MILLION)
    assert near.common([AllKeys((DENSE,)), Not(AllKeys((UNKNOWN,)))], MILLION)


def test_what_is_walked_grows_with_the_root_of_the_table_between_bounds() -> None:
    assert [near.walked(Shares(rows)) for rows in (10, 10_000, 1_000_000, 100_000_000)] == [500, 1000, 10_000, 10_000]


def test_a_reverse_chain_of_a_crowded_key_is_asked_of_each_row() -> None:
    assert near.crowded(AllKeys((DENSE,)), MILLION)
    assert not near.crowded(AllKeys((UNKNOWN,)), MILLION)
    assert not near.crowded(AllKeys((DENSE,)), Shares())
    assert not near.crowded(Everything(), MILLION)


def test_a_rare_key_is_never_left_to_the_index_of_time() -> None:
    request = search("Patient", ("identifier", "urn:mrn|1"))
    known = Shares(1_000_000, {COMMON: 0.01})
    assert "order by resource.updated desc" in plan.select(request, TENANT, Everything()).sql
    assert "order by resource.updated + interval '0' desc" in plan.select(request, TENANT, Everything(), known).sql


def test_as_many_placeholders_as_values() -> None:
    for params in ([("name", "a"), ("birthdate", "ge1980")], [("birthdate", "1980,1990")], [("name", "a,b")]):
        statement = plan.select(search("Patient", *params), TENANT, Everything(), MILLION)
        assert "near as materialized" in statement.sql
        assert statement.sql.count("%s") == len(statement.params)
