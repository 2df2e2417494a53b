"""An installation that takes MLLP on real ports, in plain text and over TLS, and senders with certificates to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from adapters.accepting import bound
from adapters.certificates import sending
from adapters.mllp import Listener, Sender
from fhir_server.app import Concord, mllp
from fhir_server.app.mllp import Ports
from fhir_server.context import Tenant
from fhir_server.operations import channels
from fhir_server.operations.channels import Editor
from fhir_server.store import tenants
from tests.certificates import Authority
from tests.engine.world import code
from tests.fhir import running

LAB, STRANGER = "lab.example", "stranger.example"


class Hospital:
    """Two clinics behind one installation; `plain` and `secured` are its shared ports."""

    def __init__(self, concord: Concord, authority: Authority, clinics: tuple[Tenant, Tenant]) -> None:
        self.concord, self.authority = concord, authority
        self.north, self.south = clinics
        self.ports: Ports
        self.plain: Listener
        self.secured: Listener

    async def apply(self, tenant: Tenant, name: str, **definition: Any) -> None:
        """Save a channel and have it work."""
        who = Editor(tenant.id, "engineer", "tests", self.concord.clock())
        await channels.apply(self.concord.db, who, [msgspec.json.encode({"name": name, **definition})])

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Ports]:
        """Take messages until the block ends."""
        async with mllp(self.concord) as self.ports:
            self.plain = await self.ports.share(bound("127.0.0.1", 0), tls=False)
            if self.concord.settings.mllp_tls_cert:
                self.secured = await self.ports.share(bound("127.0.0.1", 0), tls=True)
            yield self.ports

    async def send(self, message: bytes, *, port: int | None = None, name: str | None = None) -> bytes:
        """Send a message, with a certificate of this name over TLS or without, and return its acknowledgement."""
        context = sending(self.authority.file, *self.authority.issue(name)) if name else None
        shared = self.secured if name else self.plain
        sender = Sender("127.0.0.1", port or shared.port, tls=context)
        try:
            return await sender.send(message)
        finally:
            await sender.close()

    async def told(self, message: bytes, *, port: int | None = None, name: str | None = None) -> str:
        """Send a message and return MSA-1 of its acknowledgement."""
        return code(await self.send(message, port=port, name=name))

    async def quarantine(self) -> Tenant:
        """Return the tenant of what nobody knows."""
        found = await tenants.by_name(self.concord.db, tenants.QUARANTINE)
        assert found is not None
        return found


@asynccontextmanager
async def hospital(dsn: str, folder: Path, *, tls: bool = True, **settings: Any) -> AsyncIterator[Hospital]:
    """Give an installation; it takes messages once it is `listening`."""
    authority = Authority(folder)
    if tls:
        certificate, key = authority.issue("127.0.0.1")
        settings |= {"mllp_tls_cert": certificate, "mllp_tls_key": key, "mllp_tls_authorities": authority.file}
    async with running(dsn, poll_interval=0.2, **settings) as (concord, _):
        clinics = await tenants.add(concord.db, "north"), await tenants.add(concord.db, "south")
        yield Hospital(concord, authority, clinics)
