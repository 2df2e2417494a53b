"""Python values reach PostgreSQL and come back as they were."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_server.store.database import Database
from fhir_server.store.values import dumped, numbered

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
INT8 = st.integers(-(2**63), 2**63 - 1)
MOMENT = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
REAL = st.floats(allow_nan=False)
LISTS = {
    "bigint[]": st.lists(st.none() | INT8),
    "text[]": st.lists(st.none() | TEXT),
    "bytea[]": st.lists(st.none() | st.binary()),
    "timestamptz[]": st.lists(st.none() | MOMENT),
    "float8[]": st.lists(st.none() | REAL),
    "boolean[]": st.lists(st.none() | st.booleans()),
    "date[]": st.lists(st.none() | st.dates()),
}
SCALARS = {
    "bigint": INT8,
    "text": TEXT,
    "bytea": st.binary(),
    "timestamptz": MOMENT,
    "float8": REAL,
    "boolean": st.booleans(),
    "date": st.dates(),
    "uuid": st.uuids(),
    "numeric": st.decimals(allow_nan=False, allow_infinity=False, places=6),
    "jsonb": st.dictionaries(TEXT, st.integers(-(2**53), 2**53) | TEXT | st.none()),
}


@pytest.mark.parametrize("kind", LISTS | SCALARS)
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_value_comes_back_as_it_was(database: Database, kind: str, data: st.DataObject) -> None:
    value = data.draw((LISTS | SCALARS)[kind])
    ((found,),) = await database.fetch(None, f"select %s::{kind}", (value,))
    assert found == value


async def test_a_moment_is_the_same_moment_in_any_zone(database: Database) -> None:
    moment = datetime(2026, 3, 1, 12, 0, 0, 5, timezone(timedelta(hours=-5, minutes=30)))
    assert await database.fetch(None, "select %s::timestamptz", (moment,)) == [(moment,)]


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        dumped([datetime(2026, 3, 1)])  # noqa: DTZ001


@pytest.mark.parametrize("value", [object(), [object()], {1, 2}])
def test_what_has_no_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no SQL form"):
        dumped([value])


def test_a_statement_is_prepared_once_whatever_the_size_of_its_numbers() -> None:
    assert dumped([1])[0] == dumped([2**40])[0] == dumped([-1])[0]


def test_each_type_has_its_own_form() -> None:
    values = [True, 1, 1.5, "a", b"a", date(2026, 1, 1), Decimal("1.50"), UUID(int=0), {}]
    assert len({oid for value in values for oid in dumped([value])[0]}) == len(values)
    assert dumped([Decimal("1.50")])[1] == [b"1.50"]


@pytest.mark.parametrize(
    ("sql", "sent"),
    [
        ("select 1", b"select 1"),
        ("%s, %s::int", b"$1, $2::int"),
        ("a like 'x%%' and b = %s", b"a like 'x%' and b = $1"),
        ("%%s %s", b"%s $1"),
    ],
)
def test_places_are_numbered(sql: str, sent: bytes) -> None:
    assert numbered(sql) == sent


@pytest.mark.parametrize("sql", ["like 'a%'", "%d", "100 % 3", "%"])
def test_a_percent_sign_that_is_no_place_is_refused(sql: str) -> None:
    with pytest.raises(ValueError, match="only %s and %% are known"):
        numbered(sql)
