"""The apps that somebody has given access to, and how they take it back.

https://hl7.org/fhir/smart-app-launch/conformance.html (management_endpoint)
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import groupby

import msgspec

from fhir_server.context import Tenant
from fhir_server.smart.granting import REFRESH
from fhir_server.store import audit, connected
from fhir_server.store.audit import Audited
from fhir_server.store.connected import Given
from fhir_server.store.database import Database


class ConnectedApp(msgspec.Struct, frozen=True):
    """An app and all that a person has given it here; `lasting` says that it may renew its access by itself."""

    client_id: str
    name: str
    given: tuple[Given, ...]

    @property
    def scope(self) -> str:
        """Return all its scopes, each once."""
        return " ".join(dict.fromkeys(text for one in self.given for text in one.scope.split()))

    @property
    def lasting(self) -> bool:
        """Tell whether it may renew its access by itself."""
        return any(name in self.scope.split() for name in REFRESH)


class Connected(msgspec.Struct, frozen=True):
    """Lists and ends what people have given; `forget` makes this process look anew at what was revoked."""

    db: Database
    clock: Callable[[], datetime]
    forget: Callable[[], None]

    async def of(self, tenant: Tenant, person: int) -> list[ConnectedApp]:
        """Return the apps that a person has given access to in a clinic, by name."""
        given = await connected.of_person(self.db, tenant.id, person, self.clock())
        groups = groupby(given, key=lambda one: (one.client_id, one.name))
        return [ConnectedApp(client_id, name, tuple(rows)) for (client_id, name), rows in groups]

    async def end(self, tenant: Tenant, person: int, sub: str, client_id: str) -> bool:
        """Take back all that a person has given an app, at once; False where that is nothing. It is audited."""
        now = self.clock()
        async with self.db.transaction(tenant.id) as tx:
            ended = await connected.end(tx, person, client_id, "the user took it back", now)
            if ended:
                told = {"grants": ended}
                row = Audited(at=now, action="revoke", subject=sub, client=client_id, outcome=200, detail=told)
                audit.record(tx, [row])
        self.forget()
        return bool(ended)
