"""Launches: what was open on the screen of whoever started an app from here, for that app and that person, once.

https://hl7.org/fhir/smart-app-launch/app-launch.html#launch-app-ehr-launch
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from fhir_server.store.database import Tx


class Launch(msgspec.Struct, frozen=True):
    """Who launched which app, with which patient and encounter (ids)."""

    launch_hash: bytes
    client_id: str
    person: int
    patient: str | None
    encounter: str | None
    created: datetime
    expires: datetime


_COLUMNS = "launch_hash, client_id, person, patient, encounter, created, expires"
_SWEEP = "delete from oauth_launch where tenant_id = %s and expires < %s"
_ADD = f"insert into oauth_launch (tenant_id, {_COLUMNS}) values (%s, %s, %s, %s, %s, %s, %s, %s)"  # noqa: S608
_TAKE = f"""
delete from oauth_launch where tenant_id = %s and launch_hash = %s and client_id = %s and expires > %s
returning {_COLUMNS}
"""  # noqa: S608


def add(tx: Tx, launch: Launch) -> None:
    """Queue a launch, and the removal of those whose time is over."""
    tx.defer(_SWEEP, (tx.tenant_id, launch.created))
    tx.defer(_ADD, (tx.tenant_id, *msgspec.structs.astuple(launch)))


async def take(tx: Tx, launch_hash: bytes, client_id: str, now: datetime) -> Launch | None:
    """Return the launch of this app and take it away; None where there is none, or its time is over."""
    rows = await tx.fetch(_TAKE, (tx.tenant_id, launch_hash, client_id, now))
    return Launch(*rows[0]) if rows else None
