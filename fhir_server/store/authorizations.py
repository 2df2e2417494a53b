"""Requests of apps for a person's agreement, from the first redirect to the code: one row each, found by its handle.

https://www.rfc-editor.org/rfc/rfc6749#section-4.1.1
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from fhir_server.store.database import Tx


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """What an app asked for; `launched_by` is who made its launch here, `person` who has begun to answer it."""

    handle_hash: bytes
    client_id: str
    redirect_uri: str
    state: str
    scope: str
    challenge: str
    created: datetime
    expires: datetime
    nonce: str | None = None
    launched_by: int | None = None
    person: int | None = None
    patient: str | None = None
    encounter: str | None = None
    asked_encounter: bool = False


_FIELDS = Pending.__struct_fields__
_COLUMNS = ", ".join(_FIELDS)
_ADD = f"insert into oauth_request (tenant_id, {_COLUMNS}) values (%s, {', '.join(['%s'] * len(_FIELDS))})"  # noqa: S608
_SWEEP = "delete from oauth_request where tenant_id = %s and expires < %s"
_BIND = f"""
update oauth_request set person = %s where tenant_id = %s and handle_hash = %s and expires > %s
and (person is null or person = %s) returning {_COLUMNS}
"""  # noqa: S608
_CHOOSE = """
update oauth_request set patient = coalesce(patient, %s), encounter = coalesce(encounter, %s),
asked_encounter = asked_encounter or %s where tenant_id = %s and handle_hash = %s
"""
_TAKE = "delete from oauth_request where tenant_id = %s and handle_hash = %s and person = %s returning client_id"


def add(tx: Tx, asked: Pending) -> None:
    """Queue a request, and the removal of those whose time is over."""
    tx.defer(_SWEEP, (tx.tenant_id, asked.created))
    tx.defer(_ADD, (tx.tenant_id, *(getattr(asked, name) for name in _FIELDS)))


async def bind(tx: Tx, handle_hash: bytes, person: int, now: datetime) -> Pending | None:
    """Return the request as this person's, who is the only one to answer it from now on; None where it is not theirs.

    The row stays locked, so that of two answers at one time the second finds what the first left.
    """
    rows = await tx.fetch(_BIND, (person, tx.tenant_id, handle_hash, now, person))
    return Pending(**dict(zip(_FIELDS, rows[0], strict=True))) if rows else None


def choose(tx: Tx, handle_hash: bytes, *, patient: str | None = None, encounter: str | None = None) -> None:
    """Queue the choice of a patient, or of an encounter (None: of no encounter); what was chosen stays."""
    tx.defer(_CHOOSE, (patient, encounter, patient is None, tx.tenant_id, handle_hash))


async def take(tx: Tx, handle_hash: bytes, person: int) -> bool:
    """Take the request away, answered; False where somebody was first."""
    return bool(await tx.fetch(_TAKE, (tx.tenant_id, handle_hash, person)))
