"""Every kind of search touches rows in proportion to its page, not to the table: 200,000 resources in two tenants.

The server answers each request; what it sent to PostgreSQL is run again with EXPLAIN, under row-level security as the
server's role. Rows and blocks are counted, never time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from fhir_server.store import tenants
from fhir_server.store.embedded import EmbeddedPostgres
from fhir_server.store.shares import KnownShares, Shares
from tests.fhir import Client, running
from tests.people import member, token_of
from tests.plans import watch
from tests.plans.many import CATEGORY, LOINC, MRN, UCUM, Many, load
from tests.postgres import drop_database

PAGE = 20


@pytest.fixture(scope="module")
def many(postgres: EmbeddedPostgres) -> Iterator[Many]:
    """Give the loaded database."""
    yield asyncio.run(load(postgres, "many"))
    drop_database(postgres, "many")


@pytest.fixture
async def large(many: Many) -> AsyncIterator[Client]:
    """Give a client of the tenant with 150,000 resources."""
    async with running(many.dsn) as (concord, clock), httpx.AsyncClient(timeout=60) as http:
        tenant = await tenants.by_name(concord.db, "large")
        assert tenant
        yield Client(concord, clock, tenant, http)


class Kind(NamedTuple):
    """One kind of search: how many entries its page has at least, and what may be touched for it."""

    query: str
    least: int
    rows: int = 200
    blocks: int = 600


CODE = f"{LOINC}|718-7"
SEARCHES = [
    Kind("Patient", PAGE),
    Kind(f"Patient?identifier={MRN}|M77", 1, 10, 60),
    Kind("Patient?identifier=M77,M78", 2, 20, 80),
    Kind("Patient?_id=p7,p8", 2, 10, 60),
    Kind("Patient?family=zurcher6", 1, 1000, 1000),
    Kind("Patient?family:exact=Zürcher6", 1),
    Kind("Patient?general-practitioner=Practitioner/d7", PAGE),
    Kind("Patient?organization=Organization/g1", PAGE, 300),
    Kind("Observation?subject=Patient/p77", 8),
    Kind("Observation?patient=p77", 8),
    Kind("Observation?encounter=Encounter/e155", 4),
    Kind(f"Observation?subject=Patient/p77&code={CODE}", 1),
    Kind(f"Observation?subject=Patient/p77&category={CATEGORY}|laboratory&status=final", 2),
    Kind("Observation?subject=Patient/p77&date=ge2017", 8),
    Kind(f"Observation?subject=Patient/p77&code-value-quantity={LOINC}|718-7$gt1|{UCUM}|mg/dL", 1),
    Kind("Observation?status=final", PAGE),
    Kind("Observation?status=entered-in-error", PAGE, 300),
    Kind(f"Observation?status=entered-in-error&code={LOINC}|39156-5", PAGE, 300),
    Kind(f"Observation?category={CATEGORY}|vital-signs&code={CODE}", 0, 5000, 5000),
    Kind(f"Observation?code={CODE}", PAGE, 600),
    Kind("Patient?gender=female", PAGE),
    Kind(f"Observation?status=final&code={CODE}", PAGE, 400),
    # Of each row that is walked, its entries in a narrow table are read.
    Kind("Patient?name=meier", PAGE, 6000, 8000),
    Kind("Patient?family=meier&gender=male", PAGE, 8000, 8000),
    Kind("Patient?family=meier7&given=given1&birthdate=ge1930", 1, 3000, 4000),
    Kind("Patient?birthdate=ge1980&gender=female", PAGE, 4000, 1000),
    Kind("Patient?address-city=City%2012", PAGE, 1000, 1500),
    Kind("Observation?date=ge2018-03-01&date=lt2018-04-01&status=final", PAGE, 5000, 5000),
    Kind("Observation?date=ge2018-03-01&date=lt2018-03-03&status=final", 1, 3000, 600),
    Kind(f"Observation?value-quantity=50|{UCUM}|mg/dL", PAGE, 5000, 6000),
    Kind(f"Observation?code-value-quantity={CODE}$gt20|{UCUM}|mg/dL", PAGE, 3000),
    Kind(f"Observation?code-value-quantity={CODE}$5|{UCUM}|mg/dL", PAGE, 5000, 6000),
    Kind("Observation?patient.name=zurcher6", PAGE, 1000, 1500),  # each patient of that name
    Kind(f"Patient?identifier={MRN}|M77&_has:Observation:patient:code={CODE}", 1),
    Kind(f"Patient?_has:Observation:patient:code={CODE}", PAGE),
    Kind(f"Observation?code={CODE},{LOINC}|2345-7", PAGE, 300),
    Kind("Observation?code:text=test%20718", PAGE, 4000, 3000),
    Kind("Observation?date=2018-03-05", 1, 1000),
    Kind("Observation?date=ge2017-01-01", PAGE, 3000, 300),
    Kind("Patient?birthdate=1980-01-05", 0),
    Kind("Observation?value-quantity=gt90", PAGE, 4000, 5000),
    Kind(f"Observation?component-code-value-quantity={LOINC}|8480-6$gt158|{UCUM}|mm[Hg]", PAGE, 2000, 5000),  # 850
    Kind(f"Observation?component-code-value-quantity={LOINC}|8462-4$gt120", 0, 10, 60),  # the other component has it
    Kind("Patient?_content=zurcher6", 1, 300, 1000),
    Kind("Observation?_content=test", PAGE),  # all of them have it
    Kind("Patient?_content=given12%20zurcher12", 0, 300, 1000),
    Kind("Observation?_text=test", 0, 300, 3000),
    Kind("Patient?gender:not=female", PAGE),
    Kind("Patient?birthdate:missing=true", PAGE, 1500, 3500),  # one in twenty
    Kind("Patient?birthdate:missing=false", PAGE),
    Kind(f"Observation?patient.identifier={MRN}|M77", 8),
    Kind("Patient?_has:Observation:patient:status=entered-in-error", 2, 500, 10_000),  # each key of 100 results
    Kind("Patient?_list=l1", PAGE),
    Kind("Observation?_lastUpdated=ge2020", PAGE),
    Kind("Observation?_sort=_lastUpdated", PAGE),
    Kind("Observation?subject=Patient/p77&_include=Observation:subject", 9),
    Kind(f"Patient?identifier={MRN}|M77&_revinclude=Observation:subject", 9),
    Kind("Observation?_include=Observation:*&status=final", PAGE, 200, 3000),  # each key of a row by each reference
    Kind("Patient/p77/Observation", 8),
    Kind("Patient/p77/*", 12),
    Kind("?_type=Patient,Observation,Encounter", PAGE),
    Kind(f"?_type=Patient,Practitioner&identifier={MRN}|M77", 1),
    Kind("Patient/_history", PAGE, 300),
    Kind("_history", PAGE, 1000, 3000),  # a page of each type, now and before
    Kind("Patient/p77/_history", 2),
    Kind("Patient/p77/$everything", 12, 60, 2000),  # each key of the record by each reference
    Kind("Patient/p77/$everything?_count=5&start=2010-01-01", 5, 100),
    Kind("Patient/p77/$everything?_count=5", 5, 60),  # nothing is looked up beside the members
    Kind("Encounter/e155/$everything", 6, 60, 2000),
    Kind(f"Observation/$lastn?patient=Patient/p77&category={CATEGORY}|laboratory", 1, 60),
    Kind("DocumentReference/$docref?patient=p77", 0),
]
# What is larger by its nature, with what it is in proportion to.
LARGER = [
    Kind("Observation?subject:Patient.organization.name=hospital%201", PAGE, 15_000, 15_000),  # every patient there
    Kind("Patient?given:contains=ven12", PAGE, 40_000, 60_000),  # every given name
    Kind("Observation?status=final&_total=accurate", PAGE, 250_000, 250_000),  # every row that is counted
    Kind("Observation?_summary=count", 0, 250_000, 250_000),
]


async def asked(client: Client, monkeypatch: pytest.MonkeyPatch, path: str, **more: Any) -> tuple[Any, watch.Cost]:
    """Return the answer to a request, and what its statements touch: those that are not planned anew, at worst."""
    await client.get("/metadata", token=None)
    with watch.statements(monkeypatch) as sent:
        answer = await client.get(f"/{path}", **more)
    assert answer.status_code == 200, answer.text
    return answer.json(), await watch.custom(client.concord.db, sent)


def held(kind: Kind, body: Any, cost: watch.Cost) -> None:
    """Assert that a page is full enough, and that no more was touched for it than the kind may."""
    assert len(body.get("entry", ())) >= kind.least
    assert cost.rows <= kind.rows, f"{cost.rows} rows: {cost.plans}"
    assert cost.blocks <= kind.blocks, f"{cost.blocks} blocks: {cost.plans}"


@pytest.mark.parametrize("kind", SEARCHES, ids=lambda kind: kind.query)
async def test_a_search_touches_rows_in_proportion_to_its_page(
    large: Client, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    held(kind, *await asked(large, monkeypatch, kind.query))


@pytest.mark.parametrize("kind", LARGER, ids=lambda kind: kind.query)
async def test_what_must_read_more_reads_no_more_than_it_must(
    large: Client, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    body, cost = await asked(large, monkeypatch, kind.query)
    held(kind, body, cost)
    assert cost.rows > 3000, "this belongs to the other list"


@pytest.mark.parametrize("way", ["_lastUpdated", "-_lastUpdated"])
async def test_what_is_found_and_in_which_order_does_not_depend_on_what_is_known_to_be_common(
    large: Client, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    async def unknown(_: KnownShares) -> Shares:
        return Shares()

    for kind in (kind for kind in SEARCHES if not set("_$") & set(kind.query)):
        path = f"{kind.query}{'&' if '?' in kind.query else '?'}_sort={way}&_count=7"
        pages = [await pages_of(large, path)]
        with monkeypatch.context() as patched:
            patched.setattr(KnownShares, "now", unknown)
            pages.append(await pages_of(large, path))
        assert pages[0] == pages[1], kind.query


async def pages_of(client: Client, path: str) -> list[str]:
    """Return the addresses on the first two pages."""
    answer = await client.get(f"/{path}")
    assert answer.status_code == 200, f"{path}: {answer.text}"
    body = answer.json()
    found = [entry["fullUrl"].removeprefix(client.base) for entry in body.get("entry", ())]
    for link in body["link"]:
        if link["relation"] == "next":
            body = (await client.http.get(link["url"], headers={"authorization": f"Bearer {client._all}"})).json()
            found += [entry["fullUrl"].removeprefix(client.base) for entry in body["entry"]]
    return found


@pytest.mark.parametrize(("number", "known", "rows"), [(900, False, 10_000), (900, True, 60_000), (10_000, True, 300)])
async def test_a_large_value_set_is_never_compared_code_by_code(
    large: Client, monkeypatch: pytest.MonkeyPatch, number: int, known: bool, rows: int
) -> None:
    codes = [{"code": f"x{n}"} for n in range(number - known)] + ([{"code": "718-7"}] if known else [])
    url = f"http://example.org/vs-{number}-{known}"
    compose = {"include": [{"system": LOINC, "concept": codes}]}
    body = {"resourceType": "ValueSet", "url": url, "status": "active", "compose": compose}
    assert (await large.post("/ValueSet", json=body)).status_code == 201
    held(Kind(url, PAGE * known, rows, rows * 3 + 600), *await asked(large, monkeypatch, f"Observation?code:in={url}"))


@pytest.mark.parametrize("query", ["Observation", "Observation?status=final", "Patient?gender:not=female"])
async def test_a_later_page_costs_what_the_first_does(
    large: Client, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    separator = "&" if "?" in query else "?"
    body, first = await asked(large, monkeypatch, f"{query}{separator}_count=500")
    following = next(link["url"] for link in body["link"] if link["relation"] == "next")
    path = following.removeprefix(f"{large.base}/").replace("_count=500", "_count=20")
    body, cost = await asked(large, monkeypatch, path)
    assert len(body["entry"]) == PAGE
    assert cost.rows <= first.rows / 10
    held(Kind(query, PAGE), body, cost)


MINE = [
    Kind("Observation", 8, 60),
    Kind("Observation?status=final", 7, 60),
    Kind("Observation?date=ge2016", 8, 60),
    Kind(f"Observation?code={CODE}", 1, 60),
    Kind("Patient", 1, 30),
    Kind("Patient?_revinclude=Observation:subject", 9, 60),
    Kind("Observation?patient.gender=male,female,other", 8, 60),
    Kind("?_type=Patient,Observation,Encounter", 11, 60),
    Kind("Patient/$everything", 12, 60, 2000),
    Kind("Observation/$lastn?category=laboratory", 1, 60),
    Kind("Binary", 0, 60),
]


@pytest.mark.parametrize("kind", MINE, ids=lambda kind: kind.query)
async def test_a_patients_token_reads_that_patients_rows_alone(
    large: Client, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    token = await large.token("patient/*.rs", patient="p77")
    held(kind, *await asked(large, monkeypatch, kind.query, token=token))


IN_CARE = [
    Kind("Observation", 8),
    Kind("Observation?status=final", 7),
    Kind(f"Observation?code={CODE}", 1),
    Kind("Patient", 1),
    Kind("Patient?_revinclude=Observation:subject", 9),
    Kind("Observation?_summary=count", 0),
    Kind("Patient/p77/$everything", 10, 200, 3000),
    Kind(f"Observation/$lastn?patient=Patient/p77&category={CATEGORY}|laboratory", 1),
]


@pytest.mark.parametrize("patients", [1, 3000])
@pytest.mark.parametrize("kind", IN_CARE, ids=lambda kind: kind.query)
async def test_a_physicians_page_costs_little_whether_few_or_many_are_in_their_care(
    large: Client, monkeypatch: pytest.MonkeyPatch, kind: Kind, patients: int
) -> None:
    token = await of_care(large, range(77, 77 + patients))
    # The newest rows are looked at first, in the hope of a full page, and then those of the patients, whose relations
    # are read some times over; a count looks at every row of the type.
    most = 110_000 if "count" in kind.query else 20_000 if patients > 1 else 6_000
    body, cost = await asked(large, monkeypatch, kind.query, token=token)
    held(Kind(kind.query, kind.least, most, 4 * most), body, cost)


@pytest.mark.parametrize("query", ["Observation", "Observation?status=final", f"Observation?code={CODE}"])
async def test_an_attorneys_page_touches_what_is_of_the_cases_alone(
    large: Client, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    hasher, db, tenant = large.concord.service.hasher, large.concord.db, large.tenant_id
    person = await member(large, "attorney")
    case, patient = (hasher.self_key(tenant, *name) for name in (("EpisodeOfCare", "c"), ("Patient", "p77")))
    await db.run(
        tenant,
        ("update resource set cases = array[%s::bigint], released_at = now() - interval '1 day'"
         " where tenant_id = %s and patient = %s", (case, tenant, patient)),
        ("insert into clinic_case (tenant_id, case_key, id, patient, status) values (%s, %s, 'c', %s, 'active')"
         " on conflict do nothing", (tenant, case, patient)),
        ("insert into case_attorney (tenant_id, case_key, person_id, role, valid_from)"
         " values (%s, %s, %s, 'lead', '2020-01-01')", (tenant, case, person.id)),
        ("insert into release_of_information (tenant_id, case_key, patient, valid_from, expires)"
         " values (%s, %s, %s, '2020-01-01', '2999-01-01')", (tenant, case, patient)),
    )  # fmt: skip
    body, cost = await asked(large, monkeypatch, query, token=await token_of(large, person))
    held(Kind(query, 1, 200, 600), body, cost)


async def of_care(client: Client, numbers: range) -> str:
    """Return the token of a physician who cares for these patients."""
    hasher, tenant = client.concord.service.hasher, client.tenant_id
    name = f"d{len(numbers)}-{numbers[0]}"
    keys = [hasher.self_key(tenant, "Patient", f"p{number}") for number in numbers]
    sql = (
        "insert into care_relation (tenant_id, member, patient, kind, valid_from, source)"
        " select %s, %s, patient, 'encounter', '2020-01-01', 1 from unnest(%s::bigint[]) patient on conflict do nothing"
    )
    await client.concord.db.fetch(tenant, sql, (tenant, hasher.self_key(tenant, "Practitioner", name), keys))
    return await token_of(client, await member(client, "physician", f"Practitioner/{name}"))


# What the server leaves to PostgreSQL to plan once for all values: reads, and all that writes look up.
WRITES: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/Patient/p77", {}),
    ("GET", "/Patient/p77/_history/1", {}),
    ("PUT", "/Patient/p178", {"json": {"resourceType": "Patient", "id": "p178", "active": False}}),
    (
        "PATCH",
        "/Patient/p179",
        {"json": {"active": False}, "headers": {"content-type": "application/merge-patch+json"}},
    ),
    ("DELETE", "/Condition/c180", {}),
    ("POST", "/Patient", {"json": {"resourceType": "Patient"}, "headers": {"if-none-exist": f"identifier={MRN}|M77"}}),
    ("POST", "/Patient", {"json": {"resourceType": "Patient"}, "headers": {"if-none-exist": f"identifier={MRN}|new"}}),
    ("PUT", f"/Patient?identifier={MRN}|M181", {"json": {"resourceType": "Patient", "active": True}}),
    ("DELETE", f"/Patient?identifier={MRN}|M182", {}),
]


@pytest.mark.parametrize(("method", "path", "more"), WRITES, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("mode", ["custom", "generic"])
async def test_a_read_by_id_and_what_a_write_looks_up_touch_their_rows_alone(
    large: Client, many: Many, monkeypatch: pytest.MonkeyPatch, method: str, path: str, more: dict[str, Any], mode: str
) -> None:
    await large.get("/Patient/p1")
    with watch.statements(monkeypatch) as sent:
        answer = await large.request(method, path, **more)
    assert answer.is_success, answer.text
    assert sent
    cost = await watch.custom(large.concord.db, sent) if mode == "custom" else watch.generic(many.dsn, sent)
    assert cost.rows <= 10, cost.plans
    assert cost.blocks <= 300, cost.plans


async def test_the_other_tenants_rows_cost_a_small_tenant_nothing(
    many: Many, large: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await tenants.by_name(large.concord.db, "small")
    assert tenant
    small = Client(large.concord, large.clock, tenant, large.http)
    for query in (
        "Patient?identifier=M77",
        "Observation?status=final",
        f"Observation?code={CODE}",
        "Patient?active=true",
    ):
        body, cost = await asked(small, monkeypatch, query)
        held(Kind(query, 1, 600), body, cost)
