"""What people do with their accounts, written down: for the installation, and in each clinic that they belong to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from fhir_server.store import audit, grants, people
from fhir_server.store.audit import Audited
from fhir_server.store.database import Tx

CLIENT = "concord-console"
_NOBODY = 0


class Source(msgspec.Struct, frozen=True):
    """Where a request comes from: network address and browser, as far as they are known."""

    address: str | None = None
    agent: str | None = None


async def tell(
    tx: Tx, action: str, outcome: int, now: datetime, source: Source, *, person: int | None = None,
    sub: str = "unknown", **detail: Any,
) -> None:  # fmt: skip
    """Queue what was done or refused; the last of a transaction, which is then in a tenant of the person.

    `outcome` is an HTTP status. Nothing that was typed is told: a password is easily typed into the wrong field.
    """
    people.note(tx, person, action, outcome, now, source.address, detail)
    # Of nobody it is asked too: how long an answer takes must not tell whether an account exists.
    for tenant_id in await people.tenants_of(tx, _NOBODY if person is None else person):
        tx.set_tenant(tenant_id)
        told = {**detail, **({"address": source.address} if source.address else {})}
        row = Audited(at=now, action=action, subject=sub, client=CLIENT, outcome=outcome, detail=told)
        audit.record(tx, [row])


async def disconnect(tx: Tx, person: int, reason: str, now: datetime) -> None:
    """Queue the end of all that a person allowed apps in any clinic; the transaction is in one of them afterwards."""
    for tenant_id in await people.tenants_of(tx, person):
        tx.set_tenant(tenant_id)
        grants.revoke_all(tx, person, reason, now)
