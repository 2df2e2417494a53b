"""Where the messages of a channel come from."""

from __future__ import annotations

from ipaddress import ip_network

from conformance.issue import Issue
from fhir_server.operations.part import Part, wrong


class Mllp(Part, frozen=True, tag="mllp", tag_field="kind"):
    """Messages over MLLP. `peers` are the addresses and networks that may send; none listed: every address may."""

    peers: tuple[str, ...] = ()


Source = Mllp


def problems(source: Source) -> list[Issue]:
    """Return what is wrong with a source."""
    return [wrong("source.peers", f"{p[:80]!r} is no address or network") for p in source.peers if not _network(p)]


def _network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True
