"""The pages that load balancers and monitors ask: /healthz, /readyz, /metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Ready = Callable[[], Awaitable[str | None]]


def routes(ready: Ready, registry: CollectorRegistry, of_channels: Callable[[], Awaitable[bytes]]) -> APIRouter:
    """Return the routes; `ready` gives None, or in one sentence why requests cannot be served.

    `of_channels` gives figures of the whole installation, in the same format.
    """
    router = APIRouter(tags=["operation"])

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Tell that this process runs."""
        return {"status": "ok"}

    @router.get("/readyz")
    async def readyz(response: Response) -> dict[str, str]:
        """Tell whether requests can be served: the database answers and its schema is the one expected."""
        reason = await ready()
        if reason is None:
            return {"status": "ready"}
        response.status_code = 503
        return {"status": "not ready", "reason": reason}

    @router.get("/metrics")
    async def metrics() -> Response:
        """Return the figures of this process, and of all channels, in Prometheus' text format."""
        return Response(generate_latest(registry) + await of_channels(), media_type=CONTENT_TYPE_LATEST)

    return router
