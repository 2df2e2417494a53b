"""`_total` and `_summary=count`: counted or estimated, and which of the two. http://hl7.org/fhir/R4/search.html#total"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from fhir_server.store import tenants
from fhir_server.store.embedded import EmbeddedPostgres
from tests.fhir import Client, running
from tests.http.test_sort import links


@pytest.fixture
async def alone(postgres: EmbeddedPostgres, fresh_name: str) -> AsyncIterator[Client]:
    """Give a client of the one tenant of a database, of which the planner knows what the test put there."""
    async with running(postgres.server_dsn(fresh_name)) as (concord, clock), httpx.AsyncClient(timeout=30) as http:
        yield Client(concord, clock, await tenants.add(concord.db, "alone"), http)


async def basics(fhir: Client, number: int) -> None:
    """Create so many resources, one in a hundred with a code of its own, and have the planner know of them."""
    entries = [
        {
            "resource": {"resourceType": "Basic", "code": {"coding": [{"code": "rare" if n % 100 == 0 else "common"}]}},
            "request": {"method": "POST", "url": "Basic"},
        }
        for n in range(number)
    ]
    for start in range(0, number, 500):
        chunk = entries[start : start + 500]
        answer = await fhir.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": chunk})
        assert answer.status_code == 200, answer.text
    await fhir.concord.db.fetch(None, "select refresh_statistics()")


def outcomes(page: dict[str, Any]) -> list[dict[str, Any]]:
    return [e["resource"] for e in page.get("entry", []) if e["search"]["mode"] == "outcome"]


async def test_an_estimate_is_told_to_be_one_and_what_is_small_is_counted(alone: Client) -> None:
    await basics(alone, 2500)
    for query in (
        "/Basic?_total=estimate",
        "/Basic?_summary=count&_total=estimate",
        "/Basic?code=common&_total=estimate",
    ):
        page = (await alone.get(query)).json()
        # It is of the order of the truth, and the Bundle says what it is.
        assert 500 < page["total"] < 12_500
        (said,) = outcomes(page)
        assert said["issue"][0]["severity"] == "information"
        assert "estimate" in said["issue"][0]["diagnostics"]
        assert "_total=estimate" in links(page)["self"]
    page = (await alone.get("/Basic?code=rare&_total=estimate&_count=3")).json()
    assert (page["total"], outcomes(page)) == (25, [])
    assert "_total=accurate" in links(page)["self"]
    # The next page is asked for as the first was.
    assert "_total=estimate" in links(page)["next"]
    page = (await alone.get("/Basic?_total=accurate&_count=3")).json()
    assert (page["total"], outcomes(page)) == (2500, [])
    for query in ("/Basic?_summary=count", "/Basic?_count=0", "/Basic?_summary=count&_total=none"):
        page = (await alone.get(query)).json()
        assert (page["total"], page.get("entry")) == (2500, None)
        assert set(links(page)) == {"self"}
    several = (await alone.get("?_type=Basic,Patient&_total=estimate")).json()
    assert several["total"] > 500
    assert outcomes(several)


async def test_no_total_is_told_where_nobody_asks(fhir: Client) -> None:
    await basics(fhir, 3)
    for query in ("/Basic", "/Basic?_total=none"):
        assert "total" not in (await fhir.get(query)).json()


async def test_what_was_deleted_is_not_counted_and_what_was_restored_is(fhir: Client, other: Client) -> None:
    async def counts() -> list[int]:
        return [(await client.get("/Patient?_summary=count")).json()["total"] for client in (fhir, other)]

    for client in (fhir, other):
        for name in ("ada", "bob", "cy"):
            await client.put(f"/Patient/{name}", json={"resourceType": "Patient", "id": name})
    await fhir.delete("/Patient/ada")
    await fhir.delete("/Patient/bob")
    assert await counts() == [1, 3]
    await fhir.put("/Patient/ada", json={"resourceType": "Patient", "id": "ada"})
    assert await counts() == [2, 3]
    assert (await fhir.get("?_type=Patient,Basic&_total=accurate&_count=1")).json()["total"] == 2


async def test_an_estimate_of_nothing_is_exact(fhir: Client) -> None:
    page = (await fhir.get("/Basic?_total=estimate")).json()
    assert (page["total"], outcomes(page)) == (0, [])
    page = (await fhir.get("/Basic?_summary=count&_total=estimate&code=nothing")).json()
    assert (page["total"], outcomes(page)) == (0, [])


async def test_a_total_counts_what_the_token_may_see(fhir: Client, other: Client) -> None:
    for name in ("ada", "bob"):
        await fhir.put(f"/Patient/{name}", json={"resourceType": "Patient", "id": name})
    ada = await fhir.token("patient/*.rs", patient="ada")
    for how in ("estimate", "accurate"):
        assert (await fhir.get(f"/Patient?_total={how}", token=ada)).json()["total"] == 1
        assert (await fhir.get(f"/Patient?_summary=count&_total={how}", token=ada)).json()["total"] == 1
        assert (await other.get(f"/Patient?_total={how}")).json()["total"] == 0
