"""A Concord server in this process, on a real socket and a real database, and a client of one tenant of it."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn

from fhir_server.app import Concord, front, opened
from fhir_server.commands.parts import listen
from fhir_server.context import Tenant
from fhir_server.http.serving import config_of
from fhir_server.settings import Settings
from fhir_server.smart.tokens import mint
from fhir_server.store import keys

MAX_BODY = 1 << 20
# For clients of http alone: to read the certificates of all authorities takes longer than most tests.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class MovedClock:
    """The real time plus what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def move(self, by: timedelta) -> None:
        """Let time pass."""
        self.ahead += by


class Client:
    """One tenant's FHIR base with a token for everything; `token=` takes another, or None for none."""

    def __init__(self, concord: Concord, clock: MovedClock, tenant: Tenant, http: httpx.AsyncClient) -> None:
        self.concord, self.clock, self.http = concord, clock, http
        self.tenant, self.tenant_id = tenant.name, tenant.id
        self.base = concord.base(tenant)
        self.max_body = MAX_BODY
        self._tenant = tenant
        self._all = ""

    async def token(
        self,
        scope: str,
        *,
        patient: str | None = None,
        subject: str = "tester",
        client: str = "tests",
        lifetime: timedelta = timedelta(hours=1),
    ) -> str:
        """Return a token of this tenant."""
        key = await keys.active(self.concord.db, self._tenant.id)
        return mint(
            key,
            self.base,
            self.clock(),
            tenant=self._tenant,
            scope=scope,
            subject=subject,
            client=client,
            patient=patient,
            lifetime=lifetime,
        )

    def tenant_as_named(self) -> Tenant:
        """Return the tenant."""
        return self._tenant

    async def request(self, method: str, path: str, *, token: str | None = "all", **more: Any) -> httpx.Response:
        """Send a request to a path below the FHIR base."""
        headers = dict(more.pop("headers", {}))
        if token == "all":
            token = self._all = self._all or await self.token("system/*.cruds")
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return await self.http.request(method, self.base + path, headers=headers, **more)

    async def get(self, path: str, **more: Any) -> httpx.Response:
        """Send a GET."""
        return await self.request("GET", path, **more)

    async def post(self, path: str, **more: Any) -> httpx.Response:
        """Send a POST."""
        return await self.request("POST", path, **more)

    async def put(self, path: str, **more: Any) -> httpx.Response:
        """Send a PUT."""
        return await self.request("PUT", path, **more)

    async def delete(self, path: str, **more: Any) -> httpx.Response:
        """Send a DELETE."""
        return await self.request("DELETE", path, **more)


@asynccontextmanager
async def running(dsn: str, **settings: Any) -> AsyncIterator[tuple[Concord, MovedClock]]:
    """Serve an installation on a free loopback port until the block ends; `base_url` may hold {port}."""
    sock = listen("127.0.0.1", 0)
    objects = tempfile.TemporaryDirectory(prefix="concord-objects-")
    settings.setdefault("object_store", Path(objects.name).as_uri())
    # Tests are refused more often than anybody who means well.
    settings.setdefault("refusals_per_minute", 1_000_000)
    port = sock.getsockname()[1]
    if "base_url" in settings:
        settings["base_url"] = settings["base_url"].format(port=port)
    given = Settings.load(env="test", port=port, max_body_bytes=MAX_BODY, **settings)
    moved = MovedClock()
    async with opened(given, dsn) as plain:
        concord = msgspec.structs.replace(plain, clock=moved)
        config = config_of(front(concord, later=True), given)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[sock]))
        while not server.started:
            await asyncio.sleep(0.005)
        try:
            yield concord, moved
        finally:
            server.should_exit = True
            await task
            sock.close()
            objects.cleanup()
