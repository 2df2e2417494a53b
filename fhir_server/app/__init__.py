"""The composition root: settings become a database, a service, and the doors that use it; nothing else is decided."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fhir_server.app.concord import VERSION, Concord, base_url, opened
from fhir_server.app.mllp import mllp
from fhir_server.app.upkeep import keep, keep_days, retain_messages, sweep
from fhir_server.app.work import jobs, messages, receiver, what_if, worker

__all__ = [
    "VERSION",
    "Concord",
    "base_url",
    "front",
    "jobs",
    "keep",
    "keep_days",
    "messages",
    "mllp",
    "opened",
    "receiver",
    "retain_messages",
    "sweep",
    "what_if",
    "worker",
]


def front(concord: Concord, *, later: bool = False) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """Return the ASGI application of an HTTP process; `later` builds its pages with the first request for one."""
    from fhir_server.app.doors import front  # with its frameworks, which other processes and commands need not load

    return front(concord, later=later)
