"""A page in the order of a string, a date or a number walks that order's index; few matches are read and sorted.

http://hl7.org/fhir/R4/search.html#sort
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fhir_server.search import plan
from fhir_server.search.page import Pager
from fhir_server.search.tree import Everything, OfPatient
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from tests.postgres import drop_database
from tests.search.loaded import CATEGORY, LOINC, Loaded, asked, found, load
from tests.search.test_plan_postgres import explained, looked_at, nodes
from tests.search.world import hasher

PATIENTS, OBSERVATIONS = 1500, 6000
Params = list[tuple[str, str]]
DENSE: list[tuple[str, Params, str, str]] = [
    ("Patient", [], "birthdate", "idx_date_lo"),
    ("Patient", [], "family", "idx_string_value"),
    ("Patient", [], "name,-birthdate", "idx_string_value"),
    ("Patient", [("active", "true")], "birthdate", "idx_date_lo"),
    ("Patient", [("active", "true")], "family", "idx_string_value"),
    ("Observation", [], "value-quantity", "idx_number_lo"),
    ("Observation", [("status", "final")], "date", "idx_date_lo"),
    ("Observation", [("status", "final")], "value-quantity,date", "idx_number_lo"),
    ("Observation", [("date", "ge2012"), ("date", "lt2017")], "date", "idx_date_lo"),
    ("Observation", [("date", "ge2012-03-01"), ("date", "lt2012-06-01"), ("status", "final")], "date", "idx_date_lo"),
    ("Observation", [("value-quantity", "lt500")], "value-quantity", "idx_number_lo"),
    ("Patient", [], "_id", "resource_type_id_key"),
    ("Patient", [], "_lastUpdated,family", "resource_updated"),
]
FEW: list[tuple[str, Params, str]] = [
    ("Observation", [("patient", "77")], "date"),
    ("Observation", [("patient", "77"), ("status", "final")], "value-quantity"),
    ("Patient", [("identifier", "M77")], "family"),
    ("Patient", [("_id", "1,2,3")], "birthdate"),
    ("Observation", [("code", f"{LOINC}|c40"), ("category", f"{CATEGORY}|vital-signs")], "date"),
]


@pytest.fixture(scope="module")
def loaded(postgres: EmbeddedPostgres) -> Iterator[Loaded]:
    """Give the loaded database."""
    yield asyncio.run(load(postgres, "sorted", PATIENTS, OBSERVATIONS))
    drop_database(postgres, "sorted")


@pytest.fixture
async def searched(loaded: Loaded) -> AsyncIterator[Database]:
    """Give a connection to it under the server's role."""
    database = await Database.open(loaded.dsn)
    yield database
    await database.close()


def indexes(top: dict[str, Any]) -> set[str]:
    """Return the indexes that a plan really went to."""
    return {node["Index Name"] for node in nodes(top) if "Index Name" in node and node["Actual Loops"]}


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize(("kind", "params", "sort", "index"), DENSE)
async def test_a_page_of_many_matches_walks_the_index_of_its_order(
    searched: Database, loaded: Loaded, kind: str, params: Params, sort: str, index: str, sign: str
) -> None:
    tenant, pager = loaded.tenant, Pager(b"secret")
    request = asked(tenant, kind, *params, ("_sort", sign + sort))
    everything = await found(searched, tenant, asked(tenant, kind, *params, ("_sort", sign + sort), ("_count", "9999")))
    middle = pager.sign(request, tenant, "s", everything[len(everything) // 2])
    further = pager.resume(asked(tenant, kind, *params, ("_sort", sign + sort), ("_cursor", middle)), tenant, "s")
    for page in (request, further):
        top = await explained(searched, tenant, plan.select(page, tenant, Everything()))
        assert index in indexes(top)
        assert [
            node["Relation Name"] for node in nodes(top) if node["Node Type"] == "Seq Scan" and node["Actual Loops"]
        ] == []
        # Entries, rows and the other entries of each row: for a page of 20, of thousands.
        assert looked_at(top) <= 900


@pytest.mark.parametrize(("kind", "params", "sort"), FEW)
async def test_where_few_match_those_alone_are_read(
    searched: Database, loaded: Loaded, kind: str, params: Params, sort: str
) -> None:
    request = asked(loaded.tenant, kind, *params, ("_sort", sort))
    top = await explained(searched, loaded.tenant, plan.select(request, loaded.tenant, Everything()))
    assert looked_at(top) <= 250
    assert [
        node["Relation Name"] for node in nodes(top) if node["Node Type"] == "Seq Scan" and node["Actual Loops"]
    ] == []


@pytest.mark.parametrize("sort", ["date", "-value-quantity", "-_lastUpdated,date"])
async def test_a_patients_own_rows_are_read_alone_in_any_order(searched: Database, loaded: Loaded, sort: str) -> None:
    mine = OfPatient(hasher().self_key(loaded.tenant, "Patient", "77"))
    request = asked(loaded.tenant, "Observation", ("_sort", sort))
    top = await explained(searched, loaded.tenant, plan.select(request, loaded.tenant, mine))
    assert looked_at(top) < 100


async def test_all_of_a_type_are_counted_in_indexes_alone(searched: Database, loaded: Loaded) -> None:
    request = asked(loaded.tenant, "Observation", ("_summary", "count"))
    statement = plan.count(request, loaded.tenant, Everything())
    top = await explained(searched, loaded.tenant, statement)
    scans = {node["Node Type"] for node in nodes(top) if "Scan" in node["Node Type"]}
    assert scans == {"Index Only Scan"}
    assert indexes(top) >= {"resource_deleted"}
    assert await searched.fetch(loaded.tenant, statement.sql, statement.params) == [(OBSERVATIONS,)]
