"""A channel: whose messages come in by a door, what it takes, and how its sender writes.

HL7 v2.5.1 chapter 2.9.2.2 (what the MSH alone can refuse) and table 0357 (the codes of ERR-3).
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from random import Random
from typing import TypeAlias

import msgspec

from adapters.contract import Peer
from fhir_server.context import Scope, Tenant
from fhir_server.operations.destinations import AnyDestination
from fhir_server.operations.polled import Fhir, Folder
from fhir_server.store.channels import ChannelState
from fhir_server.store.tickets import AHEAD
from mappings.ack import AckError
from mappings.header import Header
from mappings.mapped import SenderProfile

Network: TypeAlias = IPv4Network | IPv6Network


class Retry(msgspec.Struct, frozen=True):
    """How often a message is tried, and the seconds between: doubling from `base` to `most`."""

    attempts: int = 8
    base: float = 1.0
    most: float = 300.0

    def delay(self, attempt: int, random: Random) -> float:
        """Return the wait after try number `attempt`: between half of it and all, so that not all come back at once.

        >>> [round(Retry(base=1, most=10).delay(n, Random(0)), 1) for n in (1, 2, 3, 9)]
        [0.9, 1.8, 3.7, 9.2]
        """
        whole: float = min(self.most, self.base * 2.0 ** min(attempt - 1, 64))
        return whole * (0.5 + random.random() / 2)


class Channel(msgspec.Struct, frozen=True):
    """What one kind of sender may send, into one tenant. An empty set takes everything.

    `senders` are (MSH-3, MSH-4); `types` are `ORU`, for every event of it, or `ORU^R01`; `versions` are beginnings:
    `2.5` takes 2.5.1; `networks` are where senders may be, `certificates` and `clients` what they must have proven to
    be (adapters.certificates.normal). `via` is the kind of its source, `port` one of its own, `tls` takes nothing in
    plain text, `polls` is a source that is looked at. `closed` is why nothing at all is taken.
    `applied`: answers wait so many seconds for the message to be processed; None: they go out once it is stored.
    `original`: MSH-15 and MSH-16 are not looked at, and every message is answered.
    `destinations` are where its messages are sent on to; `acks_to` names the one that takes acknowledgements alone.
    `ahead` is the head start of its priority in seconds, `order` what its messages are worked in order by; with `holds`
    a message whose control id came with other content waits for a person.
    """

    name: str
    tenant: Tenant
    state: ChannelState = "running"
    via: str = "mllp"
    port: int | None = None
    tls: bool = False
    polls: Folder | Fhir | None = None
    certificates: frozenset[str] = frozenset()
    clients: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    senders: frozenset[tuple[str, str]] = frozenset()
    types: frozenset[str] = frozenset()
    processing_ids: frozenset[str] = frozenset()
    versions: tuple[str, ...] = ()
    profile: SenderProfile = SenderProfile()
    retry: Retry | None = None
    applied: float | None = None
    original: bool = False
    closed: AckError | None = None
    destinations: tuple[AnyDestination, ...] = ()
    acks_to: str | None = None
    ahead: int = AHEAD["normal"]
    order: str = "patient"
    holds: bool = False

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """Return what its steps may search for: what came from the same address before."""
        types = sorted(self.polls.types) if isinstance(self.polls, Fhir) else ()
        return tuple(Scope("system", type_, "cruds") for type_ in types)

    def heard(self, header: Header) -> Header:
        """Return the header as this channel hears it: one in original mode does not hear MSH-15 and MSH-16."""
        return msgspec.structs.replace(header, accept_ack="", application_ack="") if self.original else header

    def refusals(self, header: Header) -> list[AckError]:
        """Return why a message with this MSH is not taken: faults of the MSH itself first, then of this channel."""
        if self.closed:
            return [self.closed]
        broken = [problem for problem in header.problems if problem.severity == "E"]
        return broken or [AckError(at, code, text) for at, code, text, takes in _CHECKS if not takes(self, header)]


Route = Callable[[Header, Peer], Channel]


def catch_all(tenant: Tenant, name: str = "mllp", profile: SenderProfile | None = None) -> Channel:
    """Return a channel that takes every message of every sender, in original mode: for a demo, never for a clinic."""
    return Channel(name, tenant, profile=profile or SenderProfile(), original=True)


def always(channel: Channel) -> Route:
    """Return the route of a door with one channel behind it."""
    return lambda header, peer: channel


def _sender(channel: Channel, header: Header) -> bool:
    return not channel.senders or (header.sender_app, header.sender_facility) in channel.senders


def _type(channel: Channel, header: Header) -> bool:
    return not channel.types or header.message_type in {name.split("^")[0] for name in channel.types}


def _event(channel: Channel, header: Header) -> bool:
    wanted = {header.message_type, f"{header.message_type}^{header.trigger}"}
    return not channel.types or not _type(channel, header) or bool(wanted & channel.types)


def _processing(channel: Channel, header: Header) -> bool:
    return not channel.processing_ids or header.processing_id in channel.processing_ids


def _version(channel: Channel, header: Header) -> bool:
    parts = header.version.split(".")
    return not channel.versions or any(parts[: len(v)] == v for v in (v.split(".") for v in channel.versions))


# ERR-2, ERR-3, ERR-8, and what decides. 0357 has no code of its own for a sender nobody knows: 204 is unknown key.
_CHECKS: tuple[tuple[str, str, str, Callable[[Channel, Header], bool]], ...] = (
    ("MSH-3", "204", "this sender is not known here", _sender),
    ("MSH-9.1", "200", "this message type is not taken here", _type),
    ("MSH-9.2", "201", "this event is not taken here", _event),
    ("MSH-11", "202", "this processing id is not taken here", _processing),
    ("MSH-12", "203", "this version is not taken here", _version),
)
