"""A job is queued with the write that causes it and done in order, beside the messages."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fhir_server.store import inbox, jobs
from fhir_server.store.database import Database
from fhir_server.store.jobs import NewJob
from tests.postgres import new_tenants
from tests.store.letters import LATER, REASON, drain, letter
from tests.store.rows import NOW

STATES = "select payload->>'n', state, attempts from job order by id"


@pytest.fixture
async def tenant(fresh_database: Database) -> int:
    (made,) = await new_tenants(fresh_database, 1)
    return made


async def queue(database: Database, tenant: int, *numbers: int, order: int = 1) -> None:
    async with database.transaction(tenant) as tx:
        jobs.add(tx, [NewJob("count", {"n": str(n)}, order) for n in numbers], NOW)


async def work(database: Database) -> list[str]:
    done = []
    while True:
        async with database.transaction(None) as tx:
            job = await jobs.claim(tx, LATER)
            if job is None:
                return done
            jobs.finish(tx, job, LATER)
            done.append(job.payload["n"])


async def test_jobs_of_one_order_are_done_one_after_the_other(fresh_database: Database, tenant: int) -> None:
    await queue(fresh_database, tenant, 1, 2)
    await queue(fresh_database, tenant, 3)
    async with fresh_database.transaction(None) as tx:
        job = await jobs.claim(tx, LATER)
        assert job
        assert (job.tenant_id, job.kind, job.payload) == (tenant, "count", {"n": "1"})
        assert await work(fresh_database) == []
        jobs.finish(tx, job, LATER)
    assert await work(fresh_database) == ["2", "3"]
    assert await fresh_database.fetch(tenant, STATES) == [(n, "done", 1) for n in "123"]


async def test_a_job_of_a_write_that_is_taken_back_was_never_queued(fresh_database: Database, tenant: int) -> None:
    async def failing() -> None:
        async with fresh_database.transaction(tenant) as tx:
            jobs.add(tx, [NewJob("count", {"n": "1"}, 1)], NOW)
            jobs.add(tx, [], NOW)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        await failing()
    assert await work(fresh_database) == []


async def test_jobs_and_messages_do_not_take_each_others_tickets(fresh_database: Database, tenant: int) -> None:
    await queue(fresh_database, tenant, 1, order=1)
    await inbox.accept(fresh_database, tenant, [letter("m", 2)])
    assert await work(fresh_database) == ["1"]
    assert await drain(fresh_database) == ["m"]


async def test_a_job_that_fails_is_tried_again_and_then_given_up(fresh_database: Database, tenant: int) -> None:
    await queue(fresh_database, tenant, 1, 2)
    due = LATER + timedelta(minutes=1)
    async with fresh_database.transaction(None) as tx:
        job = await jobs.claim(tx, LATER)
        assert job
        await tx.fetch("update job set payload = '{}' returning 1")
        jobs.retry(tx, job, due, REASON)
    assert await work(fresh_database) == []
    async with fresh_database.transaction(None) as tx:
        job = await jobs.claim(tx, due)
        assert job
        assert job.attempts == 1
        jobs.bury(tx, job, due, REASON)
    assert await work(fresh_database) == ["2"]
    assert await fresh_database.fetch(tenant, STATES) == [("1", "buried", 2), ("2", "done", 1)]
    reasons = await fresh_database.fetch(tenant, "select reason->0->>'diagnostics' from job order by id")
    assert reasons == [("it went wrong",), (None,)]
