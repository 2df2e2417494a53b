"""What guards an installation's ways in and out, as the settings have it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from adapters.web import Web
from fhir_server.app.concord import Concord
from fhir_server.http.gate import Gate
from fhir_server.http.peers import Peers
from fhir_server.http.rates import Rate
from fhir_server.settings import Settings
from fhir_server.settings_guard import listed

# Seconds over which requests are counted.
_BURST = 10.0
_MINUTE = 60.0


def gate_of(concord: Concord, figures: CollectorRegistry) -> Gate:
    """Return the gate before the doors of a process."""
    given = concord.settings
    return Gate(
        Peers(listed(given.trusted_proxies)),
        address=Rate(given.rate_per_address, _BURST),
        client=Rate(given.rate_per_client, _BURST),
        user=Rate(given.rate_per_user, _BURST),
        refusals=Rate(given.refusals_per_minute / _MINUTE, _MINUTE),
        ticks=lambda: concord.clock().timestamp(),
        hsts=given.hsts_seconds if concord.base_url.startswith("https://") else 0,
        figures=figures,
    )


def web_of(settings: Settings) -> Web:
    """Return the client for outgoing requests."""
    return Web(
        frozenset(host.lower() for host in listed(settings.outgoing_allow)),
        most=settings.outgoing_max_bytes,
        seconds=settings.outgoing_timeout,
        authorities=settings.outgoing_authorities,
    )
