"""What people do about alerts: acknowledge one, say who is told, and try whether that works. Each change is audited."""

from __future__ import annotations

import secrets
from typing import Any

from fhir_server.errors import Conflict, Invalid, NotFound
from fhir_server.operations import notices
from fhir_server.operations.channels import Editor
from fhir_server.operations.notices import EVENTS, Notice
from fhir_server.operations.watching import EMAIL
from fhir_server.store import alert_targets, alerts, audit
from fhir_server.store.alert_targets import Kind, Target
from fhir_server.store.audit import Audited
from fhir_server.store.database import Database, Tx

_SECRET_BYTES = 32
_LONGEST_NOTE = 2000


async def acknowledge(db: Database, who: Editor, id_: int, note: str | None = None) -> None:
    """Keep that somebody takes care of an alert: nobody is reminded of it. What happened once is settled by it.

    Raises NotFound where none of this number stands unacknowledged, Invalid for a note that is too long.
    """
    if note is not None and len(note) > _LONGEST_NOTE:
        raise Invalid(f"a note has at most {_LONGEST_NOTE} characters", "note")
    async with db.transaction(who.tenant_id) as tx:
        if not await alerts.acknowledge(tx, id_, who.subject, note, who.now, ends=sorted(EVENTS)):
            raise NotFound(f"no alert {id_} stands that nobody acknowledged yet")
        _audit(tx, who, "alert-acknowledge", {"alert": id_, "note": note})


async def add_target(db: Database, who: Editor, kind: Kind, address: str) -> tuple[Target, str | None]:
    """Have somebody told of a clinic's alerts; return the secret that signs what a webhook gets, this once.

    A webhook's address must have been required by the client for outgoing requests. Raises Invalid, Conflict.
    """
    if kind == "email" and not EMAIL.match(address):
        raise Invalid(f"{address[:80]!r} is no e-mail address", "address")
    secret = secrets.token_urlsafe(_SECRET_BYTES) if kind == "webhook" else None
    async with db.transaction(who.tenant_id) as tx:
        added = await alert_targets.add(tx, kind, address, secret.encode() if secret else None, who.subject, who.now)
        if added is None:
            raise Conflict(f"{address[:80]} is told already")
        _audit(tx, who, "alert-target-add", {"kind": kind, "address": address})
    return added, secret


async def remove_target(db: Database, who: Editor, address: str) -> None:
    """Have somebody told no more. Raises NotFound."""
    async with db.transaction(who.tenant_id) as tx:
        if not await alert_targets.remove(tx, address):
            raise NotFound(f"{address[:80]!r} is not among those who are told")
        _audit(tx, who, "alert-target-remove", {"address": address})


async def test(db: Database, who: Editor, tenant: str) -> int:
    """Queue a notice that is a test for each recipient of the clinic, and return how many there are."""
    targets = await alert_targets.listed(db, who.tenant_id)
    notice = Notice(tenant, "", "test", "raised", 0, 1, who.now, who.now, {})
    async with db.transaction(who.tenant_id) as tx:
        _audit(tx, who, "alert-test", {})
        return notices.queue(tx, notice, targets, (), who.now)


def _audit(tx: Tx, who: Editor, action: str, detail: dict[str, Any]) -> None:
    row = Audited(at=who.now, action=action, subject=who.subject, client=who.client, outcome=200, detail=detail)
    audit.record(tx, [row])
