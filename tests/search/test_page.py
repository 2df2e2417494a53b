"""The sealed cursor of a next link. http://hl7.org/fhir/R4/http.html#paging"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_server.errors import Invalid
from fhir_server.search.page import Pager
from fhir_server.search.request import Position, SearchRequest
from tests.search.world import search

PAGER = Pager(b"a secret")
UPDATED = datetime(2024, 6, 1, 10, 30, 15, 123456, UTC)
ROW = (42, "id", 1, UPDATED, b"{}")


def asked(cursor: str | None = None, *more: tuple[str, str], resource_type: str = "Patient") -> SearchRequest:
    """Return a search with a cursor."""
    given_ = [("_cursor", cursor)] if cursor else []
    return search(resource_type, ("active", "true"), *more, *given_)


def test_a_cursor_leads_to_where_its_page_ended() -> None:
    cursor = PAGER.sign(asked(), 1, "anna", ROW)
    assert PAGER.resume(asked(cursor), 1, "anna").after == Position((UPDATED,), 42, "id")


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001  the strategy adds the zone below
    st.integers(0, 2**63 - 1),
)
def test_any_moment_and_row_comes_back_exactly(moment: datetime, rid: int) -> None:
    moment = moment.replace(tzinfo=UTC)
    cursor = PAGER.sign(asked(), 1, "anna", (rid, "id", 1, moment, b""))
    assert PAGER.resume(asked(cursor), 1, "anna").after == Position((moment,), rid, "id")


def test_a_moment_in_another_zone_is_the_same_moment() -> None:
    other = UPDATED.astimezone(datetime.now().astimezone().tzinfo) + timedelta()
    cursor = PAGER.sign(asked(), 1, "anna", (42, "id", 1, other, b""))
    assert PAGER.resume(asked(cursor), 1, "anna").after == Position((UPDATED,), 42, "id")


def test_a_search_without_a_cursor_starts_at_the_beginning() -> None:
    assert PAGER.resume(asked(), 1, "anna").after is None


def test_the_size_of_the_page_and_the_total_may_change_between_pages() -> None:
    cursor = PAGER.sign(asked(None, ("_count", "5")), 1, "anna", ROW)
    assert PAGER.resume(asked(cursor, ("_count", "7"), ("_total", "accurate")), 1, "anna").after


@pytest.mark.parametrize(
    ("request_", "tenant", "subject"),
    [
        ({}, 2, "anna"),
        ({}, 1, "bert"),
        ({"resource_type": "Practitioner"}, 1, "anna"),
        ({"more": ("name", "x")}, 1, "anna"),
        ({"more": ("_sort", "_lastUpdated")}, 1, "anna"),
    ],
)
def test_a_cursor_of_another_tenant_subject_type_query_or_order_is_refused(
    request_: dict[str, object], tenant: int, subject: str
) -> None:
    cursor = PAGER.sign(asked(), 1, "anna", ROW)
    more = [request_["more"]] if "more" in request_ else []
    foreign = asked(cursor, *more, resource_type=str(request_.get("resource_type", "Patient")))  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="_cursor"):
        PAGER.resume(foreign, tenant, subject)


def test_a_cursor_of_another_installation_is_refused() -> None:
    cursor = Pager(b"another secret").sign(asked(), 1, "anna", ROW)
    with pytest.raises(Invalid, match="_cursor"):
        PAGER.resume(asked(cursor), 1, "anna")


@given(st.data())
def test_a_cursor_changed_in_any_character_is_refused(data: st.DataObject) -> None:
    cursor = PAGER.sign(asked(), 1, "anna", ROW)
    at = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.characters(exclude_characters=cursor[at], exclude_categories=["Cs"]))
    changed = cursor[:at] + other + cursor[at + 1 :]
    if "\0" not in changed:
        with pytest.raises(Invalid, match="_cursor"):
            PAGER.resume(asked(changed), 1, "anna")


@pytest.mark.parametrize("cursor", ["x", "é", "=", "AAAA", "AAAAAAAAAAAAAAAAAAAAAA==", "A" * 1000, "-_-_", "a b", "!"])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid, match="start again without it"):
        PAGER.resume(asked(cursor), 1, "anna")


def test_a_longer_or_shorter_cursor_is_refused() -> None:
    cursor = PAGER.sign(asked(), 1, "anna", ROW)
    for changed in (cursor + "AAAA", cursor[:-4], cursor + "=", cursor.rstrip("="), f" {cursor}"):
        if changed != cursor:
            with pytest.raises(Invalid, match="_cursor"):
                PAGER.resume(asked(changed), 1, "anna")


def test_a_cursor_shows_nothing_of_the_query() -> None:
    assert "true" not in PAGER.sign(asked(), 1, "anna", ROW)
    assert len(PAGER.sign(asked(), 1, "anna", ROW)) < 60


def test_signing_without_a_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="secret"):
        Pager(b"")
