"""Apps of other people: static pages with SMART's JavaScript client, served from an origin of their own.

http://docs.smarthealthit.org/client-js/
`/{app}/launch` starts the flow as the app's launch address does; `/{app}/` is where it comes back to. On that page the
client is `app.client`, or what it failed with is `app.failure`, and `data-state` of the body says that it is one or the
other: a test asks the client for the rest.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn

from fhir_server.commands.parts import listen

_CLIENT = Path("node_modules", "fhirclient", "build", "fhir-client.js")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><link rel="icon" href="data:,">
<script src="/fhir-client.js"></script></head>
<body><h1>{title}</h1><script>
const app = {{ settings: {settings} }};
// A public client is known by its id alone, which this one leaves out of a refresh where it is not told.
FHIR.oauth2.settings.refreshTokenWithClientId = !app.settings.clientSecret;
const done = (state) => {{ document.body.dataset.state = state; }};
const failed = (failure) => {{ app.failure = String(failure.message ?? failure); done('failed'); }};
{script}
</script></body></html>
"""
_LAUNCH = "FHIR.oauth2.authorize(app.settings).catch(failed);"
_READY = "FHIR.oauth2.ready(app.settings).then((client) => { app.client = client; done('ready'); }).catch(failed);"


class Apps:
    """The origin of the apps; `settings` of an app are the options that its pages call the client with."""

    def __init__(self, origin: str, script: bytes) -> None:
        self.origin, self._script = origin, script
        self.settings: dict[str, dict[str, Any]] = {}
        self.jwks: dict[str, Any] = {"keys": []}

    def launch_uri(self, name: str) -> str:
        """Return the address that starts an app."""
        return f"{self.origin}/{name}/launch"

    def redirect_uri(self, name: str) -> str:
        """Return the address that an app comes back to."""
        return f"{self.origin}/{name}/"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request for a page, the client's script or the key set of an app."""
        status, kind, body = self._found(scope["path"])
        headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _found(self, path: str) -> tuple[int, bytes, bytes]:
        if path == "/fhir-client.js":
            return 200, b"text/javascript", self._script
        if path == "/jwks.json":
            return 200, b"application/json", json.dumps(self.jwks).encode()
        _, name, rest = path.split("/", 2) if path.count("/") > 1 else ("", "", "")
        if name not in self.settings or rest not in ("", "launch"):
            return 404, b"text/plain", b"not here"
        script = _LAUNCH if rest else _READY
        page = _PAGE.format(title=name, settings=json.dumps(self.settings[name]), script=script)
        return 200, b"text/html; charset=utf-8", page.encode()


@asynccontextmanager
async def serving(installed: Path) -> AsyncIterator[Apps]:
    """Serve the apps on a free loopback port until the block ends."""
    sock = listen("127.0.0.1", 0)
    script = await asyncio.to_thread((installed / _CLIENT).read_bytes)
    apps = Apps(f"http://127.0.0.1:{sock.getsockname()[1]}", script)
    server = uvicorn.Server(uvicorn.Config(apps, log_level="warning", lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[sock]))
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield apps
    finally:
        server.should_exit = True
        await task
        sock.close()
