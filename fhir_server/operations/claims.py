"""Whose messages a channel claims, held against the channels of other clinics that share the installation's ports."""

from __future__ import annotations

from ipaddress import ip_network

from fhir_server.operations.definition import Definition
from fhir_server.operations.sources import Mllp


def overlap(one: Definition, other: Definition) -> bool:
    """Tell whether a message over MLLP could be meant for either of two channels."""
    if not isinstance(one.source, Mllp) or not isinstance(other.source, Mllp):
        return False
    if one.source.port != other.source.port:
        return False
    certificates = _share(one.source.certificates, other.source.certificates)
    senders = _share(one.accepts.senders, other.accepts.senders)
    return certificates and senders and _near(one.source.peers, other.source.peers)


def _share(some: tuple[object, ...], others: tuple[object, ...]) -> bool:
    """Tell whether two lists have something in common; an empty one takes everything."""
    return not some or not others or not set(some).isdisjoint(others)


def _near(some: tuple[str, ...], others: tuple[str, ...]) -> bool:
    if not some or not others:
        return True
    networks = [ip_network(text, strict=False) for text in others]
    return any(
        ip_network(text, strict=False).overlaps(other)
        for text in some
        for other in networks
        if ip_network(text, strict=False).version == other.version
    )
