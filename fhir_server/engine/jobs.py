"""Works jobs: each time a little of one in a transaction, then of the next, so that none keeps the others waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from random import Random

import structlog

from conformance.issue import error
from fhir_server.clock import Clock
from fhir_server.engine.celery_app import Drains
from fhir_server.engine.channel import Retry
from fhir_server.engine.reasons import storable
from fhir_server.errors import Busy
from fhir_server.interactions.service import Service
from fhir_server.store import jobs
from fhir_server.store.bell import Bell
from fhir_server.store.database import Stale, Tx
from fhir_server.store.jobs import ClaimedJob

log = structlog.get_logger(__name__)
# Does a part of a job in the transaction; tells whether it is done.
Work = Callable[[Tx, ClaimedJob, datetime], Awaitable[bool]]


class Jobs:
    """Works jobs until it is stopped (`run`), or until none is due (`drain`)."""

    def __init__(
        self,
        service: Service,
        works: Mapping[str, Work],
        clock: Clock,
        *,
        random: Random,
        retry: Retry | None = None,
        poll: float = 5.0,
    ) -> None:
        """`works` has what to do by the kind of job; `poll` is in seconds."""
        self._service = service
        self._works = works
        self._clock = clock
        self._random = random
        self._retry = retry or Retry()
        self._poll = poll
        self._stopping = asyncio.Event()

    async def drain(self) -> int:
        """Work all that is due and return how many parts that were. Raises errors.Busy where the database is away."""
        parts = 0
        while not self._stopping.is_set() and await self._one():
            parts += 1
        return parts

    async def run(self) -> None:
        """Work what comes, until stopped; what is under way then is finished first."""
        bell = Bell(self._service.db.asked)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                await self._quietly()
                ringing = asyncio.create_task(bell.wait(self._poll))
                await asyncio.wait({ringing, stopping}, return_when=asyncio.FIRST_COMPLETED)
                ringing.cancel()
                await asyncio.gather(ringing, return_exceptions=True)
        finally:
            stopping.cancel()
            await bell.close()

    def stop(self) -> None:
        """Take nothing new; `run` returns when what is under way is done."""
        self._stopping.set()

    async def _quietly(self) -> None:
        try:
            await self.drain()
        except Busy:
            log.warning("database away, jobs wait", database="busy")
        except Exception:
            log.exception("jobs go on after a failure of their own")

    async def _one(self) -> bool:
        """Do a part of the job that has been due for longest; False where none is due."""
        async with self._service.db.transaction(None) as tx:
            job = await jobs.claim(tx, self._clock())
            if job is None:
                return False
            try:
                if await self._works[job.kind](tx, job, self._clock()):
                    jobs.finish(tx, job, self._clock())
                else:
                    jobs.go_on(tx, job, self._clock())
                await tx.flush()
            except Stale:
                # It has changed what the work goes by: look again, and at once.
                await self._service.renewed(job.tenant_id)
                jobs.retry(tx, job, self._clock(), ())
            except Exception as failure:
                self._failed(tx, job, failure)
        return True

    def _failed(self, tx: Tx, job: ClaimedJob, failure: Exception) -> None:
        """Try again later, and never give up: what a job is for stays to be done."""
        delay = self._retry.delay(job.attempts + 1, self._random)
        log.warning("job failed", kind=job.kind, job_id=job.id, attempt=job.attempts + 1, exc_info=failure)
        reason = [error("exception", f"{type(failure).__name__}: {failure}"[:2000])]
        jobs.retry(tx, job, self._clock() + timedelta(seconds=delay), storable(reason))


class Together:
    """Several workers of a process as one."""

    def __init__(self, *workers: Drains) -> None:
        self._workers = workers

    async def drain(self) -> int:
        """Do all that is due for each."""
        return sum(await asyncio.gather(*(one.drain() for one in self._workers)))

    async def run(self) -> None:
        """Run all until they are stopped; one that fails ends them all."""
        async with asyncio.TaskGroup() as group:
            for one in self._workers:
                group.create_task(one.run())

    def stop(self) -> None:
        """Take nothing new."""
        for one in self._workers:
            one.stop()
