"""The doors of an HTTP process, wired to an installation."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from fhir_server.app.accounts import accounts_of
from fhir_server.app.apps import pages_of_apps
from fhir_server.app.authorization import authorization_of, endpoints_of, launcher_of
from fhir_server.app.concord import VERSION, Concord
from fhir_server.app.guards import gate_of, web_of
from fhir_server.app.posting import Poster
from fhir_server.app.special import special_of
from fhir_server.console import account, begin, signin, watch
from fhir_server.console import pages as console
from fhir_server.console.desk import answer_pages, desk
from fhir_server.console.views import Overview
from fhir_server.console.views import overview as overview_of
from fhir_server.http import (
    access,
    alerts,
    api,
    channels,
    clinic,
    deliveries,
    documents,
    health,
    hl7v2,
    launching,
    messages,
    oauth,
    published,
    special,
)
from fhir_server.http import people as people_door
from fhir_server.http.binary import BinaryDoor
from fhir_server.http.bounds import Bounds
from fhir_server.http.cors import Cors
from fhir_server.http.fhir import FhirDoor
from fhir_server.http.figures import ChannelFigures
from fhir_server.http.front import Front
from fhir_server.http.later import Later
from fhir_server.http.proof import Proof
from fhir_server.http.watched import Watched
from fhir_server.http.who import Who
from fhir_server.settings import Settings
from fhir_server.settings_mllp import ports_of
from fhir_server.smart.tokens import Verifier
from fhir_server.store import clients, keys, overview, standing, tenants
from fhir_server.store import people as stored_people


def bounds_of(settings: Settings) -> Bounds:
    """Return the bounds on requests before they are understood."""
    return Bounds(settings.max_body_bytes, settings.max_url_bytes, settings.max_json_depth, settings.request_timeout)


def front(concord: Concord, *, later: bool = False) -> Front:
    """Return the ASGI application of an HTTP process; `later` builds its pages with the first request for one."""
    figures = CollectorRegistry()
    gate = gate_of(concord, figures)
    door = FhirDoor(
        service=concord.service,
        verifier=Verifier(keys.finder(concord.db), partial(standing.of, concord.db), concord.settings.standing_seconds),
        tenant_of=tenants.finder(concord.db),
        base_url=concord.base_url,
        clock=concord.clock,
        bounds=bounds_of(concord.settings),
        pack_from=concord.settings.compress_from_bytes,
        gate=gate,
        open_pages=published.pages(concord.service, concord.base_url, concord.clock(), VERSION),
    )
    binaries = BinaryDoor(door, concord.settings.max_binary_bytes)
    cors = Cors(door.tenant_of, partial(clients.origins, concord.db), lambda: concord.clock().timestamp())
    build = partial(_pages, concord, door, figures)
    pages = Watched(Later(build) if later else build(), door)
    return Front(gate, cors, door, binaries, pages, concord.settings.max_requests)


def _pages(concord: Concord, door: FhirDoor, figures: CollectorRegistry) -> FastAPI:
    """Return everything but FHIR: the clinic's API, health, metrics, the operator page."""
    pages = FastAPI(
        title="Concord",
        version=VERSION,
        description="The clinic's API and the operator's pages.",
        # The framework's pages run scripts of another host, here where people are signed in.
        docs_url=None,
        redoc_url=None,
    )
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=figures)

    async def look(names: Collection[str] | None) -> Overview:
        queue, counts = await overview.queue(concord.db), await overview.message_counts(concord.db, names)
        if names is not None:
            # What waits in all clinics together is no single clinic's business.
            queue = (sum(states.get("received", 0) for states in counts.values()), None)
        return overview_of(concord.clock(), VERSION, queue, counts)

    pages.include_router(
        health.routes(lambda: overview.unready(concord.db), figures, ChannelFigures(concord.db, concord.clock).text)
    )
    accounts = accounts_of(concord)
    counter = desk(accounts.signin.sessions, concord.clock, door.gate.peers.address)
    who = Who(accounts.signin.sessions, door)
    pages.add_middleware(Proof, proved=who.proved)
    pages.include_router(console.routes(counter, look, partial(stored_people.memberships, concord.db)))
    pages.include_router(channels.routes(concord.db, who.context, ports_of(concord.settings.mllp_channel_ports)))
    pages.include_router(alerts.routes(concord.db, web_of(concord.settings), who.context))
    pages.include_router(watch.routes(watch.WatchPage(counter, concord.db, who.tenant, who.grant)))
    pages.include_router(
        hl7v2.routes(Poster(concord).take, who.context, door.gate.peers.address, _posted(concord.settings))
    )
    pages.include_router(deliveries.routes(concord.db, concord.service.hasher, who.context))
    pages.include_router(signin.routes(counter, accounts.signin, accounts))
    pages.include_router(account.routes(counter, accounts))
    pages.include_router(people_door.routes(accounts, who, concord.base_url))
    answer_pages(pages)
    pages.include_router(pages_of_apps(concord, counter, who, door.verifier.forget))
    pages.include_router(documents.routes(door))
    pages.include_router(messages.routes(concord.db, concord.service.hasher, who.context))
    pages.include_router(clinic.routes(concord.service, who.context))
    pages.include_router(begin.routes(counter, authorization_of(concord), who.tenant))
    pages.include_router(launching.routes(concord.service, launcher_of(concord), who.context))
    ends = endpoints_of(concord, door.verifier)
    pages.include_router(oauth.routes(ends.issuer, ends.introspection, tenants.finder(concord.db)))
    pages.include_router(access.routes(concord.service, who.context))
    pages.include_router(special.routes(special_of(concord, accounts, door.verifier.forget), who))
    api.tell_failures(pages)
    return pages


def _posted(settings: Settings) -> hl7v2.Bounds:
    return hl7v2.Bounds(settings.mllp_max_message_bytes, settings.mllp_read_timeout, settings.mllp_max_connections)
