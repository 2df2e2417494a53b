"""Which channel a message belongs to: all channels of all tenants, looked up anew when one of them changes.

A sender that no channel knows is refused, and what it sent is kept for the operators of the installation alone.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from ipaddress import ip_address, ip_network
from math import inf

import msgspec
import structlog

from adapters.contract import Peer
from fhir_server.context import Tenant
from fhir_server.engine.channel import Channel, Retry, catch_all
from fhir_server.errors import Busy, FhirError, NotFound
from fhir_server.operations.definition import Definition, read
from fhir_server.store import channels, tenants
from fhir_server.store.bell import Bell
from fhir_server.store.channels import ChannelState, StoredChannel
from fhir_server.store.database import Database
from mappings.ack import AckError
from mappings.header import Header
from mappings.mapped import SenderProfile

log = structlog.get_logger(__name__)
# Seconds after which what is known of channels is looked up anew; of one that is paused, it may be working by then.
_LATER, _SOON = 5.0, 0.2
_UNKNOWN = AckError("MSH-3", "204", "this sender is not known here")
_AMBIGUOUS = AckError("MSH-3", "204", "more than one channel takes messages of this sender")
_NOT_NOW = AckError("MSH", "207", "this channel takes no messages at the moment; send it again later")


class Directory:
    """The channels as of the last look; `fallback` takes what no channel knows, for a demo.

    Without a `quarantine` it is of use to those who work messages, not to those who take them.
    """

    def __init__(self, db: Database, quarantine: Tenant | None = None, fallback: Channel | None = None) -> None:
        self._db = db
        self._quarantine = quarantine
        self._fallback = fallback
        self._known: dict[tuple[int, str], Channel] = {}
        self._generations: dict[int, int] = {}
        self._missing: set[tuple[int, str]] = set()
        self._looked = -inf

    async def look(self) -> None:
        """Read the channels that have changed. One whose definition cannot be used any more takes nothing."""
        looked = asyncio.get_running_loop().time()
        for tenant, generation in await channels.generations(self._db):
            if self._generations.get(tenant.id) != generation:
                stored = await channels.all_of(self._db, tenant.id)
                rest = {key: channel for key, channel in self._known.items() if key[0] != tenant.id}
                self._known = rest | {(tenant.id, one.name): _compiled(tenant, one) for one in stored}
                self._generations[tenant.id] = generation
        self._missing, self._looked = set(), looked

    async def follow(self, every: float) -> None:
        """Look when a channel changes, and every so many seconds, until cancelled."""
        bell = Bell(self._db.dsn, channels.BELL)
        try:
            while True:
                await bell.wait(every)
                with suppress(Busy):
                    before = dict(self._generations)
                    await self.look()
                    if self._generations != before:
                        log.info("channels changed", channels=len(self._known))
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
        """Return the channel of a message by who sent it from where: the one that says most about its sender."""
        fits = [channel for channel in self._known.values() if _fits(channel, header, peer)]
        if not fits:
            return self._fallback or self._refused(_UNKNOWN)
        most = max(map(_says, fits))
        best = [channel for channel in fits if _says(channel) == most]
        if len(best) > 1:
            return self._refused(_AMBIGUOUS)
        return best[0]

    def _refused(self, why: AckError) -> Channel:
        assert self._quarantine is not None
        return Channel("unknown-sender", self._quarantine, closed=why)


def _fits(channel: Channel, header: Header, peer: Peer) -> bool:
    if channel.senders and (header.sender_app, header.sender_facility) not in channel.senders:
        return False
    return not channel.networks or _within(channel, peer.host)


def _within(channel: Channel, host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in channel.networks)


def _says(channel: Channel) -> tuple[bool, bool]:
    return bool(channel.networks), bool(channel.senders)


def _compiled(tenant: Tenant, stored: StoredChannel) -> Channel:
    try:
        return compiled(tenant, read(msgspec.json.encode(stored.definition)), stored.state)
    except FhirError as problem:
        log.error("a channel takes nothing: its definition cannot be used", channel=stored.name, reason=str(problem))
        return Channel(stored.name, tenant, closed=_NOT_NOW)


def compiled(tenant: Tenant, given: Definition, state: ChannelState) -> Channel:
    """Return the channel that a definition describes."""
    takes, retry = given.accepts, given.retry
    profile = given.profile
    return Channel(
        given.name,
        tenant,
        state=state,
        networks=tuple(ip_network(text, strict=False) for text in given.source.peers),
        senders=frozenset(takes.senders),
        types=frozenset(takes.types),
        processing_ids=frozenset(takes.processing_ids),
        versions=takes.versions,
        profile=SenderProfile(profile.scope, profile.zone, profile.systems, profile.code_systems),
        retry=Retry(retry.attempts, retry.base, retry.most) if retry else None,
        applied=given.ack.seconds if given.ack.when == "applied" else None,
        original=given.ack.mode == "original",
        closed=_NOT_NOW if state == "draining" else None,
    )


def trial(tenant: Tenant, data: bytes) -> Channel:
    """Return the channel that a definition in JSON describes, for messages that came before. Raises Invalid."""
    given = read(data)
    return compiled(tenant, given, "running")
