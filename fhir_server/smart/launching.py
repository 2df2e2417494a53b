"""Apps that are started from here: what is open on the screen goes with them.

https://hl7.org/fhir/smart-app-launch/app-launch.html#launch-app-ehr-launch
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from fhir_server.context import Member, Tenant, fhir_base
from fhir_server.errors import NotFound
from fhir_server.search.hashing import Hasher
from fhir_server.smart.redirects import with_query
from fhir_server.store import audit, clients, launches, opaque
from fhir_server.store.audit import Audited
from fhir_server.store.database import Database
from fhir_server.store.launches import Launch


class Launcher(msgspec.Struct, frozen=True):
    """Makes launches, each good for `lifetime`, for one app and the person who made it."""

    db: Database
    base_url: str
    clock: Callable[[], datetime]
    hasher: Hasher
    lifetime: timedelta

    async def launch(
        self, tenant: Tenant, member: Member, subject: str, client_id: str, patient: str | None, encounter: str | None
    ) -> str:
        """Return the address that starts the app with a patient and an encounter (ids), which the person may see.

        Raises NotFound where no such app can be started from here.
        """
        now = self.clock()
        client = await clients.by_id(self.db, tenant.id, client_id)
        if client is None or client.disabled is not None or client.launch_uri is None:
            raise NotFound("there is no application of this id that is started from here")
        handle = opaque.new()
        made = Launch(opaque.hashed(handle), client_id, member.person, patient, encounter, now, now + self.lifetime)
        whose = self.hasher.self_key(tenant.id, "Patient", patient) if patient else None
        row = Audited(at=now, action="launch", subject=subject, client=client_id, outcome=201, patient=whose)
        async with self.db.transaction(tenant.id) as tx:
            launches.add(tx, made)
            audit.record(tx, [row])
        return with_query(client.launch_uri, {"iss": fhir_base(self.base_url, tenant), "launch": handle})
