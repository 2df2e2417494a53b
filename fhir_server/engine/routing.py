"""Whose message it is: its certificate says most, then its address, then MSH-3 and MSH-4; nothing is guessed.

Who has proven to be somebody by a certificate is taken for nobody else, and nobody is taken for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import TypeAlias

from adapters.contract import Peer
from fhir_server.engine.channel import Channel
from mappings.ack import AckError
from mappings.header import Header

UNKNOWN = AckError("MSH-3", "204", "this sender is not known here")
AMBIGUOUS = AckError("MSH-3", "204", "more than one channel takes messages of this sender")
ANOTHERS = AckError("MSH-3", "204", "this certificate may not send in the name of MSH-3 and MSH-4")
UNPROVEN = AckError("MSH-3", "204", "messages in the name of MSH-3 and MSH-4 are taken with their certificate alone")
Sender: TypeAlias = tuple[str, str]
# Where messages come in: a port of MLLP (None: the shared ones), or HTTP at a tenant.
Door: TypeAlias = tuple[str, int | None]


class Routes:
    """All channels, found by door and sender: the work for a message does not grow with their number."""

    def __init__(self, channels: Iterable[Channel] = ()) -> None:
        self._by_sender: dict[tuple[Door, Sender], list[Channel]] = {}
        self._of_all: dict[Door, list[Channel]] = {}
        self._certificates: dict[Door, set[str]] = {}
        self._proven: dict[Sender, set[int]] = {}
        for channel in channels:
            self._add(channel)

    def _add(self, channel: Channel) -> None:
        door = _door_of(channel)
        self._certificates.setdefault(door, set()).update(channel.certificates)
        if not channel.senders:
            self._of_all.setdefault(door, []).append(channel)
        for sender in channel.senders:
            self._by_sender.setdefault((door, sender), []).append(channel)
            if channel.certificates:
                self._proven.setdefault(sender, set()).add(channel.tenant.id)

    def over_mllp(self, header: Header, peer: Peer) -> Channel | AckError:
        """Return the channel of a message, or why none takes it: UNKNOWN where a door for everybody may."""
        return self._chosen(("mllp", peer.door), header, peer)

    def over_http(self, tenant_id: int, header: Header, peer: Peer) -> Channel | AckError:
        """Return the channel of a message that a client of this tenant posts, or why none takes it."""
        return self._chosen(("http", tenant_id), header, peer)

    def _chosen(self, door: Door, header: Header, peer: Peer) -> Channel | AckError:
        sender = (header.sender_app, header.sender_facility)
        named, open_ = self._by_sender.get((door, sender), []), self._of_all.get(door, [])
        fits = [channel for channel in (*named, *open_) if _fits(channel, peer)]
        marks = peer.certificate.marks if peer.certificate else frozenset()
        if marks & self._certificates.get(door, set()):
            fits = [channel for channel in fits if channel.certificates]
            if not fits:
                return ANOTHERS
        if not fits:
            return UNPROVEN if sender in self._proven else UNKNOWN
        found = _best(fits)
        if isinstance(found, Channel) and not _says(found)[0] and sender not in found.senders:
            return UNPROVEN if found.tenant.id in self._proven.get(sender, ()) else found
        return found


def _door_of(channel: Channel) -> Door:
    return (channel.via, channel.tenant.id if channel.via == "http" else channel.port)


def _best(fits: list[Channel]) -> Channel | AckError:
    """Return the channel that says most about the sender; that two tenants know one proof decides for neither."""
    most = max(map(_says, fits))
    best = [channel for channel in fits if _says(channel) == most]
    alike = {channel.tenant.id for channel in fits if _says(channel)[0] == most[0]} if most[0] else set()
    return AMBIGUOUS if len(best) > 1 or len(alike) > 1 else best[0]


def _fits(channel: Channel, peer: Peer) -> bool:
    if channel.tls and not peer.tls:
        return False
    if channel.certificates and not (peer.certificate and channel.certificates & peer.certificate.marks):
        return False
    if channel.clients and peer.client not in channel.clients:
        return False
    return not channel.networks or _within(channel, peer.host)


def _within(channel: Channel, host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in channel.networks)


def _says(channel: Channel) -> tuple[bool, bool, bool, bool]:
    proof = bool(channel.certificates or channel.clients)
    return proof, bool(channel.networks), bool(channel.senders), channel.tls
