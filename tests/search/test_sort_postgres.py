"""`_sort` on a real PostgreSQL: the order, whatever the kind of parameter, and pages that hold while others write.

http://hl7.org/fhir/R4/search.html#sort
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhir_server.store.database import Database
from tests.postgres import new_tenants
from tests.search.shelf import Pair, Resource, Shelf, compared, in_order
from tests.search.world import BASE

FAMILIES = ("Meier", "meier", "Müller", "Zürcher", "Ångström", "O'Brien", "山田", "a" * 300, "a" * 300 + "b")
DATES = ("1970", "1980-05", "1980-05-01", "1980-05-02", "1999-12-31", "2024")
URLS = ("http://a.example/1", "http://a.example/2", "urn:x")
PATIENT_SORTS = (
    "family", "birthdate", "gender", "identifier", "general-practitioner", "_profile", "_id", "_lastUpdated",
    "deceased", "phone",
)  # fmt: skip
OBSERVATION_SORTS = ("code", "value-quantity", "date", "_id", "_lastUpdated")
# None, dense and rare ones, several together, one on what is sorted by.
PATIENT_FILTERS: tuple[list[Pair], ...] = (
    [],
    [("active", "true")],
    [("active", "true"), ("gender", "male,female")],
    [("birthdate", "ge1980")],
    [("birthdate", "ge1980"), ("birthdate", "lt2000-01-01"), ("active", "true")],
    [("family", "m")],
    [("gender:missing", "true")],
    [("birthdate:missing", "true")],
    [("family:missing", "false")],
)
OBSERVATION_FILTERS: tuple[list[Pair], ...] = (
    [],
    [("status", "final")],
    [("value-quantity", "gt1")],
    [("date", "1980-05")],
)


def _list(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, max_size=3, unique=True)


@st.composite
def patients(draw: st.DrawFn) -> Resource:
    """Draw what a Patient says; any of it may be missing, and much of it is often the same."""
    references = [f"Practitioner/{n}" for n in range(3)] + [f"{BASE}/Practitioner/1", "http://x.example/Practitioner/0"]
    found = {
        "name": [{"family": text} for text in draw(_list(st.sampled_from(FAMILIES)))],
        "identifier": [{"value": text} for text in draw(_list(st.sampled_from("abAB1")))],
        "generalPractitioner": [{"reference": text} for text in draw(_list(st.sampled_from(references)))],
        "telecom": [
            {"system": draw(st.sampled_from(("phone", "email"))), "value": text}
            for text in draw(_list(st.sampled_from("12")))
        ],
        "meta": {"profile": urls} if (urls := draw(_list(st.sampled_from(URLS)))) else None,
        "birthDate": draw(st.none() | st.sampled_from(DATES)),
        "gender": draw(st.none() | st.sampled_from(("male", "female", "other"))),
        "active": draw(st.booleans()),
        draw(st.sampled_from(("deceasedBoolean", "deceasedDateTime"))): None,
    }  # fmt: skip
    if draw(st.booleans()):
        found |= draw(
            st.sampled_from(({"deceasedBoolean": True}, {"deceasedBoolean": False}, {"deceasedDateTime": "2020"}))
        )
    return {"resourceType": "Patient"} | {name: value for name, value in found.items() if value not in (None, [])}


@st.composite
def observations(draw: st.DrawFn) -> Resource:
    """Draw what an Observation says."""
    code = draw(
        st.sampled_from(
            ({"text": "m"}, {"coding": [{"code": "a"}, {"code": "c"}]}, {"coding": [{"code": "b"}], "text": "z"})
        )
    )
    found = {
        "status": draw(st.sampled_from(("final", "amended"))),
        "code": code,
        "valueQuantity": draw(st.none() | st.sampled_from((0.1, 1, 1.50, -3, 1e20)).map(lambda n: {"value": n})),
        "effectiveDateTime": draw(st.none() | st.sampled_from(DATES)),
    }
    return {"resourceType": "Observation"} | {name: value for name, value in found.items() if value is not None}


def sorts(codes: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Draw one to three keys, up or down."""
    signed = st.tuples(st.sampled_from(("", "-")), st.sampled_from(codes)).map("".join)
    return st.lists(signed, min_size=1, max_size=3, unique_by=lambda name: name.strip("-")).map(",".join)


CASES = st.one_of(
    st.tuples(
        st.just("Patient"),
        sorts(PATIENT_SORTS),
        st.sampled_from(PATIENT_FILTERS),
        st.lists(patients(), min_size=1, max_size=14),
        st.lists(patients(), min_size=8, max_size=8),
    ),
    st.tuples(
        st.just("Observation"),
        sorts(OBSERVATION_SORTS),
        st.sampled_from(OBSERVATION_FILTERS),
        st.lists(observations(), min_size=1, max_size=14),
        st.lists(observations(), min_size=8, max_size=8),
    ),
)
# Between two pages: which resource (of those there and some that are not), and whether it is written or deleted.
OPERATIONS = st.lists(st.tuples(st.integers(0, 19), st.sampled_from(("write", "touch", "delete"))), max_size=3)
SLOW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


async def filled(database: Database, resources: list[Resource]) -> Shelf:
    """Return a shelf of a new tenant; every second resource is written in one transaction with the next."""
    tenant, _ = await new_tenants(database)
    shelf = Shelf(database, tenant)
    named = [resource | {"id": f"r{(at * 7) % 20:02}"} for at, resource in enumerate(resources)]
    for at in range(0, len(named), 2):
        await shelf.put(*named[at : at + 2])
    return shelf


@SLOW
@given(CASES, st.integers(1, 5))
async def test_all_pages_together_are_the_search_in_order(database: Database, case: Any, size: int) -> None:
    kind, sort, filters, resources, _ = case
    shelf = await filled(database, resources)
    # The order that nothing is asked of finds the same, whatever the shape of the statement.
    expected = set(await shelf.ids(kind, *filters, ("_count", "5000")))
    found = await shelf.ids(kind, *filters, ("_sort", sort), ("_count", str(size)))
    assert sorted(found) == sorted(expected)
    rows = [shelf.rows[name] for name in found]
    assert rows == in_order(sort, rows)
    assert await shelf.ids(kind, *filters, ("_sort", sort), ("_count", "5000")) == found


@SLOW
@given(CASES, st.integers(1, 4), st.lists(OPERATIONS, min_size=1, max_size=6))
async def test_pages_neither_skip_nor_repeat_what_keeps_its_place_while_others_write(
    database: Database, case: Any, size: int, between: list[list[tuple[int, str]]]
) -> None:
    kind, sort, filters, resources, others = case
    shelf = await filled(database, resources)
    kept = {name: shelf.rows[name] for name in await shelf.ids(kind, *filters)}
    seen: list[tuple[str, Any]] = []
    token: str | None = ""
    steps = iter(between)
    while token is not None:
        cursor = [("_cursor", token)] if token else []
        page, token = await shelf.page(kind, [*filters, ("_sort", sort), ("_count", str(size)), *cursor])
        rows = [shelf.rows[name] for name in page]
        assert rows == in_order(sort, rows)
        assert not seen or not page or compared(sort, seen[-1][1], rows[0]) <= 0
        seen += zip(page, rows, strict=True)
        for number, what in next(steps, []):
            name = f"r{number:02}"
            if what == "delete" and name in shelf.rows:
                await shelf.delete(name)
                kept.pop(name, None)
            elif what == "touch" and name in shelf.rows:
                # An update that changes nothing of what is sorted or filtered by, but the time.
                await shelf.put(shelf.rows[name].resource | {"language": "de"})
            elif what == "write":
                await shelf.put(others[number % len(others)] | {"id": name})
        kept = {name: row for name, row in kept.items() if compared(sort, row, shelf.rows[name]) == 0
                and _alike(row.resource, shelf.rows[name].resource)}  # fmt: skip
    names = [name for name, _ in seen]
    for name in kept:
        assert names.count(name) == 1, (sort, name)


def _alike(one: Resource, two: Resource) -> bool:
    """Tell whether two versions meet the same filters."""
    return {**one, "language": None} == {**two, "language": None}


@pytest.mark.parametrize(
    "sort", ["family", "-family", "birthdate", "-birthdate", "gender,-birthdate", "-_profile,family"]
)
async def test_what_has_no_value_comes_last_in_both_directions(database: Database, sort: str) -> None:
    bare = [{"resourceType": "Patient"}] * 4
    full = {
        "resourceType": "Patient", "name": [{"family": "A"}], "birthDate": "2000", "gender": "male",
        "meta": {"profile": ["urn:p"]},
    }  # fmt: skip
    shelf = await filled(database, [*bare, full, *bare])
    found = await shelf.ids("Patient", ("_sort", sort), ("_count", "2"))
    assert found[0] == "r08"
    assert len(set(found)) == len(found) == 9


@pytest.mark.parametrize("count", ["1", "2", "50"])
@pytest.mark.parametrize("sign", ["", "-"])
async def test_a_resource_that_says_one_value_twice_comes_once(database: Database, sign: str, count: str) -> None:
    def risk(*chances: float) -> Resource:
        predictions = [{"probabilityDecimal": chance} for chance in chances]
        said: dict[str, Any] = {"status": "final", "subject": {"display": "x"}, "prediction": predictions}
        return {"resourceType": "RiskAssessment", **said}

    shelf = await filled(database, [risk(0.5, 0.5), risk(0.1, 0.5, 0.1), risk(0.3), risk(0.2, 0.4)])
    order = {"": ["r07", "r01", "r14", "r00"], "-": ["r07", "r00", "r01", "r14"]}[sign]
    assert await shelf.ids("RiskAssessment", ("_sort", f"{sign}probability"), ("_count", count)) == order
    for bound in ("gt0.15", "lt0.45", "0.5"):
        found = await shelf.ids(
            "RiskAssessment", ("_sort", f"{sign}probability"), ("_count", count), ("probability", bound)
        )
        plain = await shelf.ids("RiskAssessment", ("probability", bound))
        assert found == [name for name in order if name in plain]
