"""The composition root: settings become a database, a service, and the doors that use it; nothing else is decided."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import cache, partial
from importlib.metadata import version
from random import Random

import msgspec
import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from conformance.search_params import Registry
from fhir_server.clock import Clock, clock
from fhir_server.console import pages as console
from fhir_server.console.views import Overview
from fhir_server.console.views import overview as overview_of
from fhir_server.context import Tenant
from fhir_server.engine import indexing
from fhir_server.engine.celery_app import publisher
from fhir_server.engine.channel import Channel, always, catch_all
from fhir_server.engine.jobs import Jobs, Together
from fhir_server.engine.receive import Receiver
from fhir_server.engine.waker import Waker
from fhir_server.engine.worker import Retry, Worker
from fhir_server.errors import Busy, NotFound
from fhir_server.http import api, health, oauth, published
from fhir_server.http.binary import BinaryDoor
from fhir_server.http.bounds import Bounds
from fhir_server.http.fhir import FhirDoor
from fhir_server.http.front import Front
from fhir_server.interactions import define
from fhir_server.interactions.kept import Kept
from fhir_server.interactions.own import Parameters
from fhir_server.interactions.service import Service
from fhir_server.limits import Limits
from fhir_server.search.hashing import Hasher
from fhir_server.search.kinds import Indexer
from fhir_server.search.page import Pager
from fhir_server.search.seal import Seal
from fhir_server.settings import Settings
from fhir_server.smart.issuing import Issuer
from fhir_server.smart.tokens import Verifier
from fhir_server.store import keys, overview, tenants
from fhir_server.store.database import Database, Tx
from fhir_server.store.jobs import ClaimedJob
from fhir_server.store.objects import Objects
from fhir_server.store.partitions import ensure_days
from fhir_server.store.resources import Loader, Rids
from fhir_server.store.shares import KnownShares
from fhir_server.store.slow import Slow

VERSION = version("concord-fhir")
log = structlog.get_logger(__name__)


class Concord(msgspec.Struct, frozen=True):
    """An open installation: everything that lives as long as a process does."""

    settings: Settings
    clock: Clock
    db: Database
    service: Service

    @property
    def base_url(self) -> str:
        """Return the public address before `/{tenant}`."""
        return base_url(self.settings)

    def base(self, tenant: Tenant) -> str:
        """Return the FHIR base of a tenant: issuer, audience and start of every link."""
        return f"{self.base_url}/{tenant.name}/fhir"


def base_url(settings: Settings) -> str:
    """Return `base_url`, or where the HTTP port is when none is set."""
    return (settings.base_url or f"http://{settings.host}:{settings.port}").rstrip("/")


@asynccontextmanager
async def opened(settings: Settings, dsn: str) -> AsyncIterator[Concord]:
    """Open an installation on the database at `dsn` (the server's role) and close it at the end."""
    db = await Database.open(
        dsn,
        min_size=settings.pool_min_size,
        # Each message under way holds a connection, and may need another for a block of resource numbers.
        max_size=max(settings.pool_max_size, settings.worker_concurrency + 2),
        statement_timeout_ms=int(settings.statement_timeout * 1000),
        lock_timeout_ms=int(settings.lock_timeout * 1000),
        acquire_timeout=settings.pool_timeout,
        slow=Slow(settings.slow_search_ms / 1000, settings.slow_searches_per_minute),
    )
    try:
        yield Concord(settings, clock(settings.test_clock), db, await _service(settings, db))
    finally:
        await db.close()


# The specification's parameters, compiled once in a process: they are the same for every installation.
_registry = cache(Registry.r4)


async def _service(settings: Settings, db: Database) -> Service:
    secret = await keys.installation_secret(db)
    registry = _registry()
    hasher = Hasher(secret)
    indexer = Indexer(registry, hasher, most_words=settings.max_words)
    return Service(
        db,
        Loader(db),
        Rids(db),
        registry,
        hasher,
        indexer,
        Pager(secret),
        limits_of(settings),
        Seal(secret),
        Kept(settings.kept_codes),
        Objects(settings.object_store, db, secret),
        Parameters(db, registry, hasher, indexer),
        KnownShares(db),
    )


def limits_of(settings: Settings) -> Limits:
    """Return the bounds on requests that the settings name."""
    return Limits(
        default_page=settings.default_page_size,
        max_page=settings.max_page_size,
        max_included=settings.max_included,
        max_parameters=settings.max_parameters,
        max_filters=settings.max_filters,
        max_values=settings.max_search_values,
        max_includes=settings.max_includes,
        max_links=settings.max_chain_links,
        max_sorts=settings.max_sorts,
        exact_total=settings.exact_total,
        max_link_types=settings.max_chain_types,
        max_chain_targets=settings.max_chain_targets,
        max_form=settings.max_form_bytes,
        max_entries=settings.max_bundle_entries,
        max_answers=settings.max_bundle_answer_bytes,
        max_locks=settings.max_locks,
        conditional_delete=settings.max_conditional_delete,
        if_match_required=settings.if_match_required,
        lenient=settings.unknown_parameter == "lenient",
        max_latest=settings.max_latest,
        max_expansion=settings.max_expansion,
        max_inline=settings.max_body_bytes,
        max_search_parameters=settings.max_search_parameters,
        index_batch=settings.index_batch,
    )


def bounds_of(settings: Settings) -> Bounds:
    """Return the bounds on requests before they are understood."""
    return Bounds(settings.max_body_bytes, settings.max_url_bytes, settings.max_json_depth, settings.request_timeout)


def front(concord: Concord) -> Front:
    """Return the ASGI application of an HTTP process."""
    door = FhirDoor(
        service=concord.service,
        verifier=Verifier(keys.finder(concord.db)),
        tenant_of=tenants.finder(concord.db),
        base_url=concord.base_url,
        clock=concord.clock,
        bounds=bounds_of(concord.settings),
        pack_from=concord.settings.compress_from_bytes,
        open_pages=published.pages(concord.service, concord.base_url, concord.clock(), VERSION),
    )
    binaries = BinaryDoor(door, concord.settings.max_binary_bytes)
    return Front(door, binaries, _pages(concord, door), concord.settings.max_requests)


async def keep_days(concord: Concord, every: float = 3600.0) -> None:
    """Make the partitions of the coming days and sweep the object store, now and again and again, until cancelled."""
    while True:
        try:
            await ensure_days(concord.db, concord.clock().date())
            await sweep(concord)
        except Busy:
            log.warning("upkeep not done; the next look does it", database="busy")
        await asyncio.sleep(every)


async def sweep(concord: Concord) -> int:
    """Take away contents that no write came to use within the grace, and tell how many."""
    found = await tenants.all_of(concord.db)
    before = concord.clock() - timedelta(seconds=concord.settings.object_grace)
    return await concord.service.objects.sweep([tenant.id for tenant in found], before)


@asynccontextmanager
async def receiver(concord: Concord) -> AsyncIterator[Receiver]:
    """Give what stands behind the MLLP listener: one catch-all channel of the tenant that the settings name."""
    given = concord.settings
    tenant = await tenants.by_name(concord.db, given.mllp_tenant or "")
    if tenant is None:
        raise NotFound(f"there is no tenant {given.mllp_tenant!r} for the MLLP port: concord tenant add")
    waker = Waker(publisher(given.broker_url)) if given.broker_url else None
    wake = partial(waker.wake, "messages") if waker else None
    try:
        route = always(catch_all(tenant))
        yield Receiver(
            concord.db,
            concord.service.hasher,
            route,
            concord.clock,
            new_control_id,
            patience=given.ack_timeout,
            wake=wake,
        )
    finally:
        if waker:
            waker.close()


def worker(concord: Concord) -> Together:
    """Return the worker of this process: of messages and of jobs."""
    return Together(messages(concord), jobs(concord))


def jobs(concord: Concord) -> Jobs:
    """Return what works the jobs that writes have queued."""
    given = concord.settings

    async def index(tx: Tx, job: ClaimedJob, now: datetime) -> bool:
        tenant = await tenants.by_id(concord.db, job.tenant_id)
        if tenant is None:
            raise NotFound(f"there is no tenant {job.tenant_id}")
        service = await concord.service.of(tenant.id)
        return await indexing.batch(service, tx, concord.base(tenant), job.payload["type"], now)

    return Jobs(
        concord.service,
        {define.JOB: index},
        concord.clock,
        random=Random(),
        retry=Retry(given.retry_attempts, given.retry_base, given.retry_max),
        poll=given.poll_interval,
    )


def messages(concord: Concord) -> Worker:
    """Return what works the messages that came in."""
    given = concord.settings

    async def channel_of(tenant_id: int, name: str) -> Channel:
        tenant = await tenants.by_id(concord.db, tenant_id)
        if tenant is None:
            raise NotFound(f"there is no tenant {tenant_id}")
        return catch_all(tenant, name)

    return Worker(
        concord.service,
        channel_of,
        concord.base,
        concord.clock,
        random=Random(),
        retry=Retry(given.retry_attempts, given.retry_base, given.retry_max),
        concurrency=given.worker_concurrency,
        together=given.worker_together,
        poll=given.poll_interval,
    )


def new_control_id() -> str:
    """Return a control id (MSH-10) of our own, at most the 20 characters that every version allows."""
    return secrets.token_hex(10).upper()


def _pages(concord: Concord, door: FhirDoor) -> FastAPI:
    """Return everything but FHIR: the clinic's API, health, metrics, the operator page."""
    pages = FastAPI(title="Concord", version=VERSION, description="The clinic's API and the operator's pages.")
    figures = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=figures)

    async def look() -> Overview:
        queue, counts = await overview.queue(concord.db), await overview.message_counts(concord.db)
        return overview_of(concord.clock(), VERSION, queue, counts)

    pages.include_router(health.routes(lambda: overview.unready(concord.db), figures))
    pages.include_router(console.routes(look))
    pages.include_router(api.routes(concord.db, door.authorize))
    pages.include_router(oauth.routes(_issuer(concord), tenants.finder(concord.db)))
    api.tell_failures(pages)
    return pages


def _issuer(concord: Concord) -> Issuer:
    lifetime = timedelta(seconds=concord.settings.backend_token_lifetime)
    return Issuer(concord.db, concord.base_url, concord.clock, lifetime)
