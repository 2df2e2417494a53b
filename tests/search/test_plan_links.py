"""The statements of links against a real PostgreSQL, under row-level security: rows read in proportion."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest

from conformance.r4 import facts
from conformance.structures import STORABLE
from fhir_server.search import across, links, plan
from fhir_server.search.tree import AnyKey, Chained, Everything, OfPatient, Referred, Reverse, SelfKeyIn, Tree, all_of
from fhir_server.store.database import Database
from fhir_server.store.embedded import EmbeddedPostgres
from tests.postgres import drop_database
from tests.search.loaded import LOINC, Loaded, asked, found, load
from tests.search.test_plan_postgres import explained, looked_at, nodes
from tests.search.world import hasher, holds

PATIENTS, OBSERVATIONS = 1500, 6000
LIMIT = 5000


@pytest.fixture(scope="module")
def loaded(postgres: EmbeddedPostgres) -> Iterator[Loaded]:
    """Give the loaded database."""
    yield asyncio.run(load(postgres, "linked", PATIENTS, OBSERVATIONS))
    drop_database(postgres, "linked")


@pytest.fixture
async def linked(loaded: Loaded) -> AsyncIterator[Database]:
    """Give a connection to it under the server's role."""
    database = await Database.open(loaded.dsn)
    yield database
    await database.close()


async def read(database: Database, tenant: int, statement: plan.Statement) -> int:
    """Return how many rows a statement looks at; no table is walked."""
    top = await explained(database, tenant, statement)
    assert [node["Relation Name"] for node in nodes(top) if node["Node Type"] == "Seq Scan"] == []
    return looked_at(top)


@pytest.mark.parametrize(("name", "value", "limit"), [("identifier", "M77", 5), ("family", "meier1", 120)])
@pytest.mark.parametrize("more", [[], [("status", "final")]])
async def test_a_chain_is_two_statements_that_read_the_targets_and_then_the_page(
    linked: Database, loaded: Loaded, name: str, value: str, limit: int, more: list[tuple[str, str]]
) -> None:
    tenant = loaded.tenant
    chain = asked(tenant, "Observation", (f"patient.{name}", value)).tree
    assert isinstance(chain, Chained)
    ((kind, tree),) = chain.targets
    first = links.targets(kind, tree, tenant, Everything(), LIMIT)
    assert await read(linked, tenant, first) <= limit
    targets = [row[0] for row in await linked.fetch(tenant, first.sql, first.params, custom_plan=True)]
    patients = [row for row in loaded.rows[tenant] if row.type == "Patient" and holds(tree, row.entries)]
    assert sorted(targets) == sorted(row.entries.self_key for row in patients)
    keys = AnyKey(tuple(key ^ chain.salt for key in targets))
    request = asked(tenant, "Observation", *more)
    # One patient in thirty: walking by time until the page is full costs no more than sorting them all.
    assert await read(linked, tenant, plan.select(request, tenant, keys)) <= 800
    rows = await found(linked, tenant, asked(tenant, "Observation", ("_count", "99999"), *more), keys)
    mine = set(targets)
    ours = [r for r in loaded.rows[tenant] if r.type == "Observation" and holds(request.tree, r.entries)]
    assert {row[1] for row in rows} == {row.id for row in ours if row.entries.patient in mine}


async def test_a_rare_reverse_chain_reads_those_who_refer_and_then_what_they_refer_to(
    linked: Database, loaded: Loaded
) -> None:
    tenant = loaded.tenant
    link = asked(tenant, "Patient", ("_has:Observation:patient:code", f"{LOINC}|c40")).tree
    assert isinstance(link, Reverse)
    statement = links.referred(link, tenant, Everything(), LIMIT)
    ((number, keys),) = await linked.fetch(tenant, statement.sql, statement.params, custom_plan=True)
    sources = [r for r in loaded.rows[tenant] if r.type == "Observation" and holds(link.tree, r.entries)]
    assert number == len(sources)
    assert set(keys) == {row.entries.patient for row in sources if row.entries.patient}
    # Each key of a source is looked up once, and few lead anywhere.
    assert await read(linked, tenant, statement) <= 60 * number
    request = asked(tenant, "Patient", ("gender", "female"))
    assert await read(linked, tenant, plan.select(request, tenant, SelfKeyIn(tuple(keys)))) <= 300


async def test_more_who_refer_than_the_limit_are_told_by_number_alone(linked: Database, loaded: Loaded) -> None:
    tenant = loaded.tenant
    link = asked(tenant, "Patient", ("_has:Observation:patient:status", "final")).tree
    assert isinstance(link, Reverse)
    statement = links.referred(link, tenant, Everything(), 100)
    assert await linked.fetch(tenant, statement.sql, statement.params, custom_plan=True) == [(101, [])]
    assert await read(linked, tenant, statement) <= 500


@pytest.mark.parametrize("restrict", [Everything(), None])
async def test_a_common_reverse_chain_is_asked_of_each_row_until_the_page_is_full(
    linked: Database, loaded: Loaded, restrict: Tree | None
) -> None:
    tenant = loaded.tenant
    link = asked(tenant, "Patient", ("_has:Observation:patient:status", "final")).tree
    assert isinstance(link, Reverse)
    may = restrict or OfPatient(hasher().self_key(tenant, "Patient", "77"))
    tree = Referred(link.salt, link.type, all_of((link.tree, plan.seen_by(may))))
    request = msgspec.structs.replace(asked(tenant, "Patient", ("_count", "20")), tree=tree)
    assert await read(linked, tenant, plan.select(request, tenant, may)) <= 400
    everyone = msgspec.structs.replace(asked(tenant, "Patient", ("_count", "99999")), tree=tree)
    rows = await found(linked, tenant, everyone, may)
    ours = [r for r in loaded.rows[tenant] if r.type == "Observation" and holds(link.tree, r.entries)]
    seen = {row.entries.patient for row in ours if holds(may, row.entries)}
    assert {hasher().self_key(tenant, "Patient", row[1]) for row in rows} == {
        key for key in seen if any(p.entries.self_key == key for p in loaded.rows[tenant])
    }


async def test_what_a_page_includes_is_read_by_key_alone(linked: Database, loaded: Loaded) -> None:
    tenant, salt = loaded.tenant, hasher().salt(loaded.tenant, "Observation", "subject")
    page = await found(linked, tenant, asked(tenant, "Observation"))
    rids = [row[0] for row in page]
    salts = [salt, hasher().salt(tenant, "Observation", "encounter")]
    forward = links.included(rids, salts, ("Group", "Patient"), tenant, Everything(), LIMIT)
    rows = await linked.fetch(tenant, forward.sql, forward.params, custom_plan=True)
    subjects = {row.entries.patient for row in loaded.rows[tenant] if row.id in {r[1] for r in page}}
    assert {hasher().self_key(tenant, "Patient", row[1]) for row in rows} == subjects
    # Each key of the page under each salt is looked up once, and few lead anywhere.
    assert await read(linked, tenant, forward) <= 60 * len(page)
    patients = [row[1] for row in await found(linked, tenant, asked(tenant, "Patient"))]
    keys = [hasher().self_key(tenant, "Patient", name) ^ salt for name in patients]
    for types in (["Observation"], ["Condition", "Observation"]):
        back = links.including(keys, types, tenant, Everything(), LIMIT)
        rows = await linked.fetch(tenant, back.sql, back.params, custom_plan=True)
        wanted = {hasher().self_key(tenant, "Patient", name) for name in patients}
        ours = [r for r in loaded.rows[tenant] if r.type == "Observation" and r.entries.patient in wanted]
        assert {row[1] for row in rows} == {row.id for row in ours}
        assert await read(linked, tenant, back) <= 3 * len(ours)


async def test_a_search_of_all_types_reads_a_page_of_each(linked: Database, loaded: Loaded) -> None:
    tenant = loaded.tenant
    parts: list[across.Part] = [(asked(tenant, name), Everything()) for name in STORABLE]
    whole = across.select(parts, tenant)
    assert await read(linked, tenant, whole) <= 21 * 2 + 30
    rows = await linked.fetch(tenant, whole.sql, whole.params, custom_plan=True)
    newest = sorted((row.updated for row in loaded.rows[tenant]), reverse=True)[:21]
    assert [row[3] for row in rows] == newest
    counted = across.count(parts, tenant)
    found_of_each = await linked.fetch(tenant, counted.sql, counted.params, custom_plan=True)
    assert sum(row[0] for row in found_of_each) == len(loaded.rows[tenant])


async def test_a_compartment_is_read_by_its_keys(linked: Database, loaded: Loaded) -> None:
    tenant, members = loaded.tenant, facts.compartments()["Patient"]
    parts: list[across.Part] = []
    for name, codes in members.items():
        keys = tuple(hasher().reference(tenant, name, code, "Patient", "77") for code in codes)
        parts.append((msgspec.structs.replace(asked(tenant, name), tree=AnyKey(keys)), Everything()))
    whole = across.select(parts, tenant)
    mine = hasher().self_key(tenant, "Patient", "77")
    ours = {r.id for r in loaded.rows[tenant] if r.type == "Observation" and r.entries.patient == mine}
    rows = await linked.fetch(tenant, whole.sql, whole.params, custom_plan=True)
    assert {row[1] for row in rows} == ours
    assert await read(linked, tenant, whole) <= 60


async def test_links_stay_in_their_tenant(linked: Database, loaded: Loaded) -> None:
    mine, theirs = sorted(loaded.rows)
    rows = await found(linked, theirs, asked(theirs, "Observation"))
    link = asked(theirs, "Patient", ("_has:Observation:patient:status", "final")).tree
    assert isinstance(link, Reverse)
    for statement in (
        links.targets("Patient", asked(theirs, "Patient", ("gender", "female")).tree, theirs, Everything(), LIMIT),
        links.targets("Patient", Everything(), theirs, Everything(), LIMIT),
        links.included([row[0] for row in rows], [1], ("Patient",), theirs, Everything(), LIMIT),
        links.including([1], ["Patient"], theirs, Everything(), LIMIT),
    ):
        assert await linked.fetch(mine, statement.sql, statement.params) == []
    statement = links.referred(link, theirs, Everything(), LIMIT)
    assert await linked.fetch(mine, statement.sql, statement.params) == [(0, [])]
