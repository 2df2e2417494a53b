"""The message listener and the workers, wired to an installation."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from random import Random

from fhir_server.app.alerts import Carrier
from fhir_server.app.concord import Concord
from fhir_server.app.deliveries import deliverer
from fhir_server.context import Tenant
from fhir_server.engine import indexing
from fhir_server.engine.celery_app import publisher
from fhir_server.engine.channel import Retry, catch_all
from fhir_server.engine.directory import Directory
from fhir_server.engine.figures import Figures
from fhir_server.engine.intake import Bounds
from fhir_server.engine.jobs import Jobs, Together, Work
from fhir_server.engine.receive import Receiver
from fhir_server.engine.waker import Waker
from fhir_server.engine.whatif import WhatIf
from fhir_server.engine.worker import Worker
from fhir_server.errors import NotFound
from fhir_server.interactions import define
from fhir_server.operations import notices, replaying
from fhir_server.settings import Settings
from fhir_server.store import tenants
from fhir_server.store.database import Tx
from fhir_server.store.inbox import DAY
from fhir_server.store.jobs import ClaimedJob


@asynccontextmanager
async def receiver(concord: Concord) -> AsyncIterator[Receiver]:
    """Give what stands behind a listener of MLLP: the channels of all tenants."""
    async with receiving(concord, await directory_of(concord)) as found:
        yield found


async def directory_of(concord: Concord) -> Directory:
    """Return the channels of all tenants.

    Where the settings name a tenant, it gets what no channel knows; otherwise that is refused and kept aside.
    """
    given = concord.settings
    fallback = None
    if given.mllp_tenant:
        tenant = await tenants.by_name(concord.db, given.mllp_tenant)
        if tenant is None:
            raise NotFound(f"there is no tenant {given.mllp_tenant!r} for the MLLP port: concord tenant add")
        fallback = catch_all(tenant)
    directory = Directory(concord.db, await tenants.quarantine(concord.db), fallback)
    await directory.look()
    return directory


@asynccontextmanager
async def receiving(concord: Concord, directory: Directory) -> AsyncIterator[Receiver]:
    """Give what takes messages by these channels, which follow their changes until the block ends."""
    given = concord.settings
    following = asyncio.create_task(directory.follow(given.poll_interval))
    figures = Figures(concord.db, concord.clock)
    counting = asyncio.create_task(figures.keep(given.poll_interval))
    waker = Waker(publisher(given.broker_url)) if given.broker_url else None
    wake = partial(waker.wake, "messages") if waker else None
    try:
        yield receiver_of(concord, directory, wake, figures)
    finally:
        following.cancel()
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)
        if waker:
            waker.close()


def large_bounds(given: Settings) -> Bounds:
    """Return what is taken of a message that comes in pieces."""
    return Bounds(
        least=given.document_from_bytes,
        text=given.message_text_bytes,
        document=given.document_max_bytes,
        documents=given.documents_max,
        together=given.messages_large,
    )


def receiver_of(concord: Concord, directory: Directory, wake: Callable[[], None] | None, figures: Figures) -> Receiver:
    """Return what makes messages durable and acknowledges them."""
    return Receiver(
        concord.db,
        concord.service.hasher,
        directory.route,
        concord.clock,
        new_control_id,
        patience=concord.settings.ack_timeout,
        control_id_window=int(concord.settings.control_id_days * DAY),
        wake=wake,
        figures=figures,
        objects=concord.service.objects,
        bounds=large_bounds(concord.settings),
    )


def worker(concord: Concord) -> Together:
    """Return the worker of this process: of messages, of jobs and of deliveries."""
    return Together(messages(concord), jobs(concord), deliverer(concord))


def jobs(concord: Concord) -> Jobs:
    """Return what works the jobs that writes have queued."""
    given = concord.settings

    async def index(tx: Tx, job: ClaimedJob, now: datetime) -> bool:
        tenant = await tenants.by_id(concord.db, job.tenant_id)
        if tenant is None:
            raise NotFound(f"there is no tenant {job.tenant_id}")
        service = await concord.service.of(tenant.id)
        return await indexing.batch(service, tx, concord.base(tenant), job.payload["type"], now)

    works: dict[str, Work] = {
        define.JOB: index,
        notices.JOB: Carrier(concord).work,
        replaying.JOB: partial(replaying.batch, concord.db),
    }
    return Jobs(
        concord.service,
        works,
        concord.clock,
        random=Random(),
        retry=Retry(given.retry_attempts, given.retry_base, given.retry_max),
        poll=given.poll_interval,
    )


def messages(concord: Concord) -> Worker:
    """Return what works the messages that came in."""
    given = concord.settings
    directory = Directory(concord.db)
    return Worker(
        concord.service,
        directory.named,
        concord.base,
        concord.clock,
        random=Random(),
        new_id=new_control_id,
        retry=Retry(given.retry_attempts, given.retry_base, given.retry_max),
        concurrency=given.worker_concurrency,
        together=given.worker_together,
        deaths=given.worker_deaths,
        poll=given.poll_interval,
    )


def new_control_id() -> str:
    """Return a control id (MSH-10) of our own, at most the 20 characters that every version allows."""
    return secrets.token_hex(10).upper()


def what_if(concord: Concord, tenant: Tenant) -> WhatIf:
    """Return what tries definitions of channels on the messages of a tenant."""
    return WhatIf(concord.service, tenant, concord.base(tenant), concord.clock)
