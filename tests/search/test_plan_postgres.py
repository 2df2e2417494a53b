"""Searches against a real PostgreSQL, under row-level security as the server's role: right answers, by the index."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fhir_server.search import plan
from fhir_server.search.page import Pager
from fhir_server.search.tree import Everything, Not, OfPatient, StringStarts, Tree, any_of
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from tests.postgres import drop_database
from tests.search.loaded import CATEGORY, LOINC, Loaded, asked, found, load
from tests.search.world import hasher, holds

PATIENTS, OBSERVATIONS = 1500, 6000
Params = list[tuple[str, str]]
# One search of each kind, and how many rows PostgreSQL may look at for a page of 20.
SEARCHES: list[tuple[str, Params, int]] = [
    ("Patient", [], 50),
    ("Patient", [("identifier", "urn:mrn|M77")], 10),
    ("Patient", [("identifier", "M77,M78")], 20),
    ("Patient", [("gender", "female")], 200),
    ("Patient", [("family", "meier1")], 400),
    ("Patient", [("family", "muller7,angstrom7")], 400),
    ("Patient", [("family", "zürcher3"), ("given", "given1")], 600),
    ("Patient", [("address-city", "City 12")], 200),
    ("Patient", [("birthdate", "1980")], 200),
    ("Patient", [("birthdate", "ge1980-01-01"), ("birthdate", "lt1980-02-01")], 200),
    ("Patient", [("birthdate", "eb1921")], 200),
    ("Patient", [("general-practitioner", "Practitioner/p7")], 200),
    ("Patient", [("_id", "1,2,77")], 20),
    ("Patient", [("_lastUpdated", "lt2024-01-01T00:01")], 100),
    ("Patient", [("family:exact", "Meier1")], 100),
    ("Patient", [("given:contains", "ven12")], 4000),  # every given name, and no row without
    ("Patient", [("gender:not", "female")], 200),
    ("Patient", [("phone:missing", "true")], 50),
    ("Patient", [("identifier:missing", "false")], 50),
    ("Patient", [("birthdate:missing", "false")], 50),
    ("Patient", [("identifier:of-type", "urn:t|MR|M77")], 10),
    ("Patient", [("general-practitioner:identifier", "urn:npi|77")], 20),
    ("Patient", [("_profile:below", "http://acme.example/")], 20),
    ("Patient", [("_profile:above", "http://acme.example/p200/a/b")], 10),
    ("Observation", [("code:text", "hemoglobin 7")], 2000),
    ("Observation", [("value-quantity", "0.5|http://unitsofmeasure.org|g")], 2000),
    ("Observation", [("value-quantity", "0.500|http://unitsofmeasure.org|g")], 50),
    ("Observation", [("value-quantity", "gt0|http://unitsofmeasure.org|L")], 2000),
    ("Observation", [("value-quantity", "500||milli")], 50),
    ("Observation", [("value-quantity", "500")], 50),
    ("Observation", [("code-value-quantity", f"{LOINC}|c40$0.500|http://unitsofmeasure.org|g")], 200),
    ("Observation", [], 50),
    ("Observation", [("patient", "77")], 60),
    ("Observation", [("subject", "77")], 60),
    ("Observation", [("patient", "77"), ("category", f"{CATEGORY}|vital-signs")], 60),
    ("Observation", [("patient", "77"), ("date", "ge2011")], 100),
    ("Observation", [("status", "final")], 50),
    ("Observation", [("status", "amended"), ("category", f"{CATEGORY}|vital-signs")], 50),
    ("Observation", [("code", f"{LOINC}|c40")], 400),
    ("Observation", [("date", "2011-03-05")], 50),
    ("Observation", [("date", "ge2000")], 200),
    ("Observation", [("date", "ge2011-03-01"), ("date", "lt2011-03-15")], 700),
    ("Observation", [("date", "2011-03,2012-05")], 1000),
    ("Observation", [("date", "sa2030")], 50),
]


@pytest.fixture(scope="module")
def loaded(postgres: EmbeddedPostgres) -> Iterator[Loaded]:
    """Give the loaded database."""
    yield asyncio.run(load(postgres, "searched", PATIENTS, OBSERVATIONS))
    drop_database(postgres, "searched")


@pytest.fixture
async def searched(loaded: Loaded) -> AsyncIterator[Database]:
    """Give a connection to it under the server's role."""
    database = await Database.open(loaded.dsn)
    yield database
    await database.close()


async def explained(database: Database, tenant: int, statement: plan.Statement) -> dict[str, Any]:
    """Return the plan of a statement as it ran."""
    sql = f"explain (analyze, format json, timing off) {statement.sql}"
    rows = await database.fetch(tenant, sql, statement.params, custom_plan=True)
    top: dict[str, Any] = rows[0][0][0]["Plan"]
    return top


def nodes(top: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a plan's nodes."""
    yield top
    for part in top.get("Plans", ()):
        yield from nodes(part)


def looked_at(top: dict[str, Any]) -> int:
    """Return how many rows the scans of a plan met, those they refused among them."""
    scans = [node for node in nodes(top) if "Scan" in node["Node Type"] and "Bitmap Index" not in node["Node Type"]]
    refused = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    return round(
        sum(node["Actual Loops"] * (node["Actual Rows"] + sum(node.get(key, 0) for key in refused)) for node in scans)
    )


@pytest.mark.parametrize(("resource_type", "params", "limit"), SEARCHES)
@pytest.mark.parametrize("sort", ["_lastUpdated", "-_lastUpdated"])
async def test_a_search_reads_an_index_and_rows_in_proportion_to_the_page(
    searched: Database, loaded: Loaded, resource_type: str, params: Params, limit: int, sort: str
) -> None:
    request = asked(loaded.tenant, resource_type, *params, ("_sort", sort))
    top = await explained(searched, loaded.tenant, plan.select(request, loaded.tenant, Everything()))
    assert [node["Relation Name"] for node in nodes(top) if node["Node Type"] == "Seq Scan"] == []
    assert looked_at(top) <= limit


@pytest.mark.parametrize("params", [[], [("status", "final")], [("code", f"{LOINC}|c3")], [("date", "ge2000")]])
async def test_a_patients_own_search_reads_that_patients_rows_alone(
    searched: Database, loaded: Loaded, params: Params
) -> None:
    mine = OfPatient(hasher().self_key(loaded.tenant, "Patient", "77"))
    request = asked(loaded.tenant, "Observation", *params)
    top = await explained(searched, loaded.tenant, plan.select(request, loaded.tenant, mine))
    assert looked_at(top) < 40
    rows = await found(searched, loaded.tenant, request, mine)
    everyone = asked(loaded.tenant, "Observation", ("patient", "77"), *params)
    assert {row[1] for row in rows} == {row[1] for row in await found(searched, loaded.tenant, everyone)}


@pytest.mark.parametrize(("resource_type", "params", "limit"), SEARCHES)
async def test_a_search_finds_exactly_what_the_definition_says(
    searched: Database, loaded: Loaded, resource_type: str, params: Params, limit: int
) -> None:
    request = asked(loaded.tenant, resource_type, *params, ("_count", "99999"))
    expected = {
        row.id
        for row in loaded.rows[loaded.tenant]
        if row.type == resource_type and holds(request.tree, row.entries, id_=row.id, updated=row.updated)
    }
    rows = await found(searched, loaded.tenant, request)
    assert {row[1] for row in rows} == expected
    assert len(rows) == len(expected)
    assert [row[3] for row in rows] == sorted((row[3] for row in rows), reverse=True)
    counted = plan.count(request, loaded.tenant, Everything())
    assert await searched.fetch(loaded.tenant, counted.sql, counted.params) == [(len(expected),)]


PREFIXES = ("", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
DATES = ("2011", "2011-03", "2011-03-05", "2010-12-31T23:59:59Z", "1900", "2999", "0001", "9999-12-31")


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_each_prefix_finds_the_dates_and_periods_that_its_definition_names(
    searched: Database, loaded: Loaded, prefix: str
) -> None:
    met = set()
    for date in DATES:
        for kind, code in (("Observation", "date"), ("Patient", "birthdate")):
            request = asked(loaded.tenant, kind, (code, f"{prefix}{date}"), ("_count", "99999"))
            rows = {row[1] for row in await found(searched, loaded.tenant, request)}
            ours = [row for row in loaded.rows[loaded.tenant] if row.type == kind]
            assert rows == {row.id for row in ours if holds(request.tree, row.entries)}, f"{code}={prefix}{date}"
            met.add(0 < len(rows) < len(ours))
    assert True in met


@pytest.mark.parametrize("first", ["gt", "ge", "sa", "ap", "ne", "eq"])
@pytest.mark.parametrize("second", ["lt", "le", "eb", "ne"])
async def test_two_bounds_on_one_date_find_what_each_alone_would(
    searched: Database, loaded: Loaded, first: str, second: str
) -> None:
    params = [("date", f"{first}2011-03"), ("date", f"{second}2011-06-15")]
    request = asked(loaded.tenant, "Observation", *params, ("_count", "99999"))
    rows = {row[1] for row in await found(searched, loaded.tenant, request)}
    ours = [row for row in loaded.rows[loaded.tenant] if row.type == "Observation"]
    assert rows == {row.id for row in ours if holds(request.tree, row.entries)}


async def test_alternatives_of_different_tables_and_negations_are_found(searched: Database, loaded: Loaded) -> None:
    tenant = loaded.tenant
    parts = [asked(tenant, "Patient", pair).tree for pair in (("family", "meier1"), ("gender", "other"), ("_id", "5"))]
    dated = asked(tenant, "Patient", ("birthdate", "1980")).tree
    trees: list[Tree] = [
        any_of(parts[:2]),
        any_of([*parts, dated]),
        any_of([parts[0], dated]),
        Not(parts[0]),
        Not(any_of(parts)),
        Not(parts[1]),
    ]
    everyone = [row for row in loaded.rows[tenant] if row.type == "Patient"]
    for tree in trees:
        rows = await found(searched, tenant, asked(tenant, "Patient", ("_count", "99999")), tree)
        expected = {row.id for row in everyone if holds(tree, row.entries, id_=row.id)}
        assert {row[1] for row in rows} == expected
        assert 0 < len(expected) < len(everyone)


@pytest.mark.parametrize("sort", ["_lastUpdated", "-_lastUpdated"])
@pytest.mark.parametrize(
    "params", [[], [("gender", "female")], [("gender", "female"), ("active", "true")], [("name", "m")]]
)
async def test_pages_neither_skip_nor_repeat_rows_of_the_same_moment(
    searched: Database, loaded: Loaded, params: Params, sort: str
) -> None:
    tenant, pager = loaded.tenant, Pager(b"secret")
    whole = await found(searched, tenant, asked(tenant, "Patient", *params, ("_sort", sort), ("_count", "99999")))
    paged: list[tuple[Any, ...]] = []
    cursor: Params = []
    while True:
        request = asked(tenant, "Patient", *params, ("_sort", sort), ("_count", "97"), *cursor)
        rows = await found(searched, tenant, pager.resume(request, tenant, "s"))
        paged += rows
        if len(rows) < 97:
            break
        cursor = [("_cursor", pager.sign(request, tenant, "s", rows[-1]))]
    assert [row[0] for row in paged] == [row[0] for row in whole]


async def test_a_later_page_costs_what_the_first_does(searched: Database, loaded: Loaded) -> None:
    tenant, pager = loaded.tenant, Pager(b"secret")
    whole = await found(searched, tenant, asked(tenant, "Observation", ("_count", "99999")))
    cursor = pager.sign(asked(tenant, "Observation"), tenant, "s", whole[4000])
    request = pager.resume(asked(tenant, "Observation", ("_cursor", cursor)), tenant, "s")
    top = await explained(searched, tenant, plan.select(request, tenant, Everything()))
    assert looked_at(top) <= 30


async def test_another_tenants_rows_are_found_by_no_statement(searched: Database, loaded: Loaded) -> None:
    mine, theirs = sorted(loaded.rows)
    for resource_type, params, _ in SEARCHES:
        # The tenant of the transaction wins over the one that a statement names.
        request = asked(theirs, resource_type, *params)
        assert await found(searched, theirs, request, set_tenant=mine) == []
    statement = plan.select(asked(mine, "Patient"), mine, Everything())
    assert await searched.fetch(None, statement.sql, statement.params) == []


async def test_a_prefix_is_bounded_at_the_last_character_of_unicode(searched: Database, loaded: Loaded) -> None:
    param = next(number for row in loaded.rows[loaded.tenant] for number, _ in row.entries.strings)
    for value in ("\U0010ffff", "山\U0010ffff", "\ud7ff"):
        tree = StringStarts(param, value)
        assert await found(searched, loaded.tenant, asked(loaded.tenant, "Patient"), tree) == []
