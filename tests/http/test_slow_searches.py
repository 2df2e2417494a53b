"""A search over its time is logged with its plan, and nothing of what was searched for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.fhir import Client
from tests.http.trouble import blocked, served, standing_still

SECRET = "Kanarienvogel"
Logs = list[Any]


async def slow(logs: Logs, number: int = 1) -> Logs:
    """Wait until so many slow searches are told."""
    for _ in range(3000):
        found = [line for line in logs if line["event"] == "slow search"]
        if len(found) >= number:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"{logs}")


Send = Callable[[Client], Any]
SEARCHES: dict[str, Send] = {
    "GET Patient?family&birthdate:missing": lambda c: c.get(f"/Patient?family={SECRET}&birthdate:missing=true"),
    "GET Observation?subject:Patient.name&…": lambda c: c.get(
        f"/Observation?subject:Patient.name={SECRET}&{SECRET}=1", headers={"prefer": "handling=lenient"}
    ),
    "GET Patient/…/*?": lambda c: c.get(f"/Patient/{SECRET}/*"),
    "POST Patient/_search?name": lambda c: c.post("/Patient/_search", data={"name": SECRET}),
}


@pytest.mark.parametrize("route", list(SEARCHES))
async def test_a_slow_search_is_logged_by_its_shape_and_plan(server_dsn: str, admin_dsn: str, route: str) -> None:
    async with served(server_dsn, slow_search_ms=50) as client:
        await client.get("/Patient")
        with capture_logs() as logs:
            async with standing_still(admin_dsn):
                task = asyncio.create_task(SEARCHES[route](client))
                await blocked(admin_dsn)
                await asyncio.sleep(0.1)
            answer = await task
            (line, *_) = await slow(logs)
        assert (line["route"], line["tenant"]) == (route, client.tenant_id)
        assert line["request_id"] == answer.headers["x-request-id"]
        assert line["duration_ms"] >= 50
        assert "rows=" in line["plan"]
        assert "resource" in line["plan"]
        assert SECRET.lower() not in str(logs).lower()


async def test_one_that_was_stopped_for_its_time_is_told_too(server_dsn: str, admin_dsn: str) -> None:
    async with served(server_dsn, slow_search_ms=50, statement_timeout=1) as client:
        await client.get("/Patient")
        with capture_logs() as logs:
            async with standing_still(admin_dsn):
                assert (await client.get(f"/Patient?name={SECRET}")).status_code == 503
            await slow(logs)
        assert SECRET.lower() not in str(logs).lower()


async def test_a_storm_of_them_is_told_in_few_lines(server_dsn: str, admin_dsn: str) -> None:
    async with served(server_dsn, slow_search_ms=1, slow_searches_per_minute=2) as client:
        await client.get("/Patient/none")
        with capture_logs() as logs:
            async with standing_still(admin_dsn):
                tasks = [asyncio.create_task(client.get("/Patient?name=a")) for _ in range(6)]
                await blocked(admin_dsn, 6)
                await asyncio.sleep(0.01)
            assert [(await task).status_code for task in tasks] == [200] * 6
            await slow(logs, 2)
            await client.concord.db.slow.close()
        assert len([line for line in logs if line["event"] == "slow search"]) == 2


async def test_a_quick_search_is_not_told(server_dsn: str) -> None:
    async with served(server_dsn, slow_search_ms=60_000) as client:
        with capture_logs() as logs:
            assert (await client.get("/Patient?name=a")).status_code == 200
            await client.concord.db.slow.close()
        assert logs == []
