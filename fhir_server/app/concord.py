"""An installation: settings become a database and a service; nothing else is decided."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from hashlib import blake2b
from importlib.metadata import version

import msgspec

from conformance.search_params import Registry
from fhir_server.app.vault import unlock
from fhir_server.clock import Clock, clock
from fhir_server.context import Tenant, fhir_base
from fhir_server.interactions.kept import Kept
from fhir_server.interactions.own import Parameters
from fhir_server.interactions.service import Service
from fhir_server.limits import Limits
from fhir_server.search.hashing import Hasher
from fhir_server.search.kinds import Indexer
from fhir_server.search.page import Pager
from fhir_server.search.seal import Seal
from fhir_server.settings import Settings
from fhir_server.smart.policy import Rules
from fhir_server.store import keys
from fhir_server.store.database import Database
from fhir_server.store.keyring import Keyring
from fhir_server.store.objects import Objects
from fhir_server.store.recorder import Recorder
from fhir_server.store.resources import Loader, Rids
from fhir_server.store.shares import KnownShares
from fhir_server.store.slow import Slow

VERSION = version("concord-fhir")


class Concord(msgspec.Struct, frozen=True):
    """An open installation: everything that lives as long as a process does."""

    settings: Settings
    clock: Clock
    db: Database
    service: Service
    form_key: bytes

    @property
    def base_url(self) -> str:
        """Return the public address before `/{tenant}`."""
        return base_url(self.settings)

    def base(self, tenant: Tenant) -> str:
        """Return the FHIR base of a tenant: issuer, audience and start of every link."""
        return fhir_base(self.base_url, tenant)


def base_url(settings: Settings) -> str:
    """Return `base_url`, or where the HTTP port is when none is set."""
    scheme = "https" if settings.tls_cert else "http"
    return (settings.base_url or f"{scheme}://{settings.host}:{settings.port}").rstrip("/")


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
        lost_after=settings.lost_after,
        slow=Slow(settings.slow_search_ms / 1000, settings.slow_searches_per_minute),
    )
    try:
        db.keyring = Keyring(await unlock(settings, db))
        secret = await keys.installation_secret(db)
        form_key = blake2b(secret, digest_size=32, person=b"concord-forms").digest()
        yield Concord(settings, clock(settings.test_clock), db, _service(settings, db, secret), form_key)
    finally:
        await db.close()


# The specification's parameters, compiled once in a process: they are the same for every installation.
_registry = cache(Registry.r4)


def _service(settings: Settings, db: Database, secret: bytes) -> Service:
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
        Rules(hasher, registry),
        Recorder(db),
    )


def limits_of(settings: Settings) -> Limits:
    """Return the bounds on requests that the settings name."""
    return Limits(
        max_segments=settings.message_segments,
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
        max_sorted=settings.max_sorted,
        signed_url_seconds=settings.signed_url_seconds,
        max_expansion=settings.max_expansion,
        max_inline=settings.max_body_bytes,
        max_search_parameters=settings.max_search_parameters,
        index_batch=settings.index_batch,
        care_before_appointment=settings.care_before_appointment,
        care_after_appointment=settings.care_after_appointment,
        care_after_encounter=settings.care_after_encounter,
        standing=settings.standing_seconds,
    )
