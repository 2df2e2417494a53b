"""An application that is built with its first request: a test that asks for no page need not wait for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fhir_server.http.wire import Receive, Scope, Send


class Later:
    """Stands for what `build` returns."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._built: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._built is None:
            self._built = self._build()
        await self._built(scope, receive, send)
