"""Where a request comes from: the peer of the connection, or what a trusted proxy says of it.

https://www.rfc-editor.org/rfc/rfc7239#section-8.1
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from fhir_server.http.wire import Scope

_FORWARDED = b"x-forwarded-for"
# One household, and one attacker, has at least so much of IPv6 to itself.
_OWN = 64


class Peers:
    """Tells addresses; only what comes from a proxy of `trusted` (networks) is believed about others."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted: list[IPv4Network | IPv6Network] = [ip_network(item) for item in trusted]

    def address(self, scope: Scope) -> str:
        """Return the address of whoever sent the request; "" where the connection has none.

        Of several that X-Forwarded-For names it is the last one that no proxy of ours has: what stands before it, its
        sender may have written.
        """
        peer = scope["client"][0] if scope.get("client") else ""
        if not self._trusted or not self._trusts(peer):
            return str(peer)
        said = b",".join(value for name, value in scope["headers"] if name == _FORWARDED)
        for item in reversed([part.strip().decode("latin-1") for part in said.split(b",")]):
            try:
                peer = str(ip_address(item))
            except ValueError:
                break
            if not self._trusts(peer):
                break
        return str(peer)

    def _trusts(self, address: str) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._trusted)


def household(address: str) -> str:
    """Return what is counted as one address: of IPv6 the network that one household has."""
    if ":" not in address:
        return address
    try:
        return str(ip_network(f"{address.partition('%')[0]}/{_OWN}", strict=False))
    except ValueError:
        return address
