"""Where the messages of a channel come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_network
from typing import TypeAlias

from adapters.certificates import normal
from conformance.issue import Issue
from fhir_server.operations import polled
from fhir_server.operations.part import Part, wrong
from fhir_server.operations.polled import Fhir, Folder


class Mllp(Part, frozen=True, tag="mllp", tag_field="kind"):
    """Messages over MLLP. `peers` are the addresses and networks that may send; none listed: every address may.

    `certificates` are those that may send, by fingerprint or by a name in them: then nothing is taken without one.
    `port` is a port of its own, instead of the shared ones; `tls`: nothing is taken in plain text.
    """

    peers: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    port: int | None = None
    tls: bool = False


class Http(Part, frozen=True, tag="http", tag_field="kind"):
    """Messages by POST to the clinic's API. `clients` are the ids of those that may send, none listed: all may."""

    clients: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()


Source: TypeAlias = Mllp | Http | Folder | Fhir


def problems(source: Source) -> list[Issue]:
    """Return what is wrong with a source."""
    if isinstance(source, Folder | Fhir):
        return polled.problems(source)
    found = _not("source.peers", source.peers, ip_network_of, "is no address or network")
    if isinstance(source, Mllp):
        found += _not("source.certificates", source.certificates, normal, "is no fingerprint or name of a certificate")
        if source.port is not None and not 0 < source.port < 65536:
            found.append(wrong("source.port", "1 to 65535"))
    return found


def ip_network_of(text: str) -> object:
    """Return the address or network; raise ValueError."""
    return ip_network(text, strict=False)


def _not(path: str, items: Iterable[str], reads: Callable[[str], object], what: str) -> list[Issue]:
    found = []
    for item in items:
        try:
            reads(item)
        except ValueError as problem:
            found.append(wrong(path, f"{item[:80]!r} {what}: {problem}"))
    return found
