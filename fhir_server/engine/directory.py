"""Which channel a message belongs to: all channels of all tenants, looked up anew when one of them changes.

A sender that no channel knows is refused, and what it sent is kept for the operators of the installation alone.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from ipaddress import ip_network
from math import inf

import msgspec
import structlog

from adapters.certificates import normal
from adapters.contract import Peer
from fhir_server.context import Tenant
from fhir_server.engine.channel import Channel, Retry, catch_all
from fhir_server.engine.routing import UNKNOWN, Routes
from fhir_server.errors import Busy, FhirError, NotFound
from fhir_server.operations.definition import Definition, read
from fhir_server.operations.polled import Fhir, Folder
from fhir_server.operations.sources import Http, Mllp
from fhir_server.store import channels, tenants
from fhir_server.store.bell import Bell
from fhir_server.store.channels import ChannelState, StoredChannel
from fhir_server.store.database import Database
from fhir_server.store.tickets import AHEAD
from mappings.ack import AckError
from mappings.header import Header
from mappings.mapped import SenderProfile

log = structlog.get_logger(__name__)
# Seconds after which what is known of channels is looked up anew; of one that is paused, it may be working by then.
_LATER, _SOON = 5.0, 0.2
_NOT_NOW = AckError("MSH", "207", "this channel takes no messages at the moment; send it again later")


class Directory:
    """The channels as of the last look; `fallback` takes what no channel knows, for a demo.

    Without a `quarantine` it is of use to those who work messages, not to those who take them.
    """

    def __init__(self, db: Database, quarantine: Tenant | None = None, fallback: Channel | None = None) -> None:
        self._db = db
        self._quarantine = quarantine
        self._fallback = fallback
        self._routes = Routes()
        self._known: dict[tuple[int, str], Channel] = {}
        self._generations: dict[int, int] = {}
        self._missing: set[tuple[int, str]] = set()
        self._looked = -inf
        self.changed = asyncio.Event()

    async def look(self) -> None:
        """Read the channels that have changed. One whose definition cannot be used any more takes nothing."""
        looked = asyncio.get_running_loop().time()
        for tenant, generation in await channels.generations(self._db):
            if self._generations.get(tenant.id) != generation:
                stored = await channels.all_of(self._db, tenant.id)
                rest = {key: channel for key, channel in self._known.items() if key[0] != tenant.id}
                self._known = rest | {(tenant.id, one.name): _compiled(tenant, one) for one in stored}
                self._generations[tenant.id] = generation
                self._routes = Routes(self._known.values())
        self._missing, self._looked = set(), looked

    async def follow(self, every: float) -> None:
        """Look when a channel changes, and every so many seconds, until cancelled."""
        bell = Bell(self._db.asked, channels.BELL)
        try:
            while True:
                await bell.wait(every)
                with suppress(Busy):
                    before = dict(self._generations)
                    await self.look()
                    if self._generations != before:
                        self.changed.set()
        finally:
            await bell.close()

    async def named(self, tenant_id: int, name: str) -> Channel:
        """Return the channel of a message that is to be worked; raise NotFound where there is no such tenant.

        A name that no channel has is that of the door of the settings, which takes everything.
        """
        key = (tenant_id, name)
        found = self._known.get(key)
        patience = _SOON if found is not None and found.state == "paused" else _LATER
        if asyncio.get_running_loop().time() > self._looked + patience or not (found or key in self._missing):
            await self.look()
        if key in self._known:
            return self._known[key]
        self._missing.add(key)
        tenant = await tenants.by_id(self._db, tenant_id)
        if tenant is None:
            raise NotFound(f"there is no tenant {tenant_id}")
        return catch_all(tenant, name)

    def route(self, header: Header, peer: Peer) -> Channel:
        """Return the channel of a message over MLLP by who sent it from where; one that refuses what no channel knows.

        What is known of nobody goes to the fallback, unless it came to the port of a channel.
        """
        found = self._routes.over_mllp(header, peer)
        if isinstance(found, Channel):
            return found
        if found is UNKNOWN and self._fallback and peer.door is None:
            return self._fallback
        assert self._quarantine is not None
        return Channel("unknown-sender", self._quarantine, closed=found)

    async def fresh(self) -> None:
        """Look where the last look is more than a moment ago."""
        if asyncio.get_running_loop().time() > self._looked + _SOON:
            await self.look()

    def posted(self, tenant: Tenant, header: Header, peer: Peer) -> Channel:
        """Return the channel of a message that a client of a tenant posts; one of the tenant that refuses the rest."""
        found = self._routes.over_http(tenant.id, header, peer)
        return found if isinstance(found, Channel) else Channel("unknown-sender", tenant, closed=found)

    def polled(self) -> dict[tuple[int, str], Channel]:
        """Return the channels whose source is to be looked at, by tenant and name; not those that are drained."""
        return {k: c for k, c in self._known.items() if c.polls is not None and c.state != "draining"}

    def ports(self) -> dict[int, bool]:
        """Return the ports that channels have for themselves, and whether each takes TLS alone."""
        found: dict[int, bool] = {}
        for channel in self._known.values():
            if channel.port is not None:
                found[channel.port] = found.get(channel.port, False) or channel.tls
        return found


def _compiled(tenant: Tenant, stored: StoredChannel) -> Channel:
    try:
        return compiled(tenant, read(msgspec.json.encode(stored.definition)), stored.state)
    except FhirError as problem:
        log.error("a channel takes nothing: its definition cannot be used", channel=stored.name, reason=str(problem))
        return Channel(stored.name, tenant, closed=_NOT_NOW)


def compiled(tenant: Tenant, given: Definition, state: ChannelState) -> Channel:
    """Return the channel that a definition describes."""
    takes, retry, source = given.accepts, given.retry, given.source
    profile = given.profile
    mllp = source if isinstance(source, Mllp) else Mllp()
    return Channel(
        given.name,
        tenant,
        state=state,
        via=str(source.__struct_config__.tag),
        port=mllp.port,
        tls=mllp.tls or bool(mllp.certificates),
        certificates=frozenset(map(normal, mllp.certificates)),
        clients=frozenset(source.clients if isinstance(source, Http) else ()),
        polls=source if isinstance(source, Folder | Fhir) else None,
        networks=tuple(ip_network(text, strict=False) for text in getattr(source, "peers", ())),
        senders=frozenset(takes.senders),
        types=frozenset(takes.types),
        processing_ids=frozenset(takes.processing_ids),
        versions=takes.versions,
        profile=SenderProfile(**msgspec.structs.asdict(profile)),
        retry=Retry(retry.attempts, retry.base, retry.most) if retry else None,
        applied=given.ack.seconds if given.ack.when == "applied" else None,
        original=given.ack.mode == "original",
        closed=_NOT_NOW if state == "draining" else None,
        destinations=given.destinations,
        acks_to=given.ack.to,
        ahead=AHEAD[given.priority],
        order=given.order,
        holds=given.control_ids == "quarantine",
    )


def trial(tenant: Tenant, data: bytes) -> Channel:
    """Return the channel that a definition in JSON describes, for messages that came before. Raises Invalid."""
    given = read(data)
    return compiled(tenant, given, "running")
