"""The one way resources get written: identify, link, check, version, and hand the rows to the store.

Used by create, update, delete, bundles and the message engine alike, inside the caller's transaction.
http://hl7.org/fhir/R4/http.html#transactional-integrity
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from conformance.issue import Issue
from conformance.r4.types import TYPE_CODES
from fhir_server.context import Context
from fhir_server.errors import Conflict, Invalid, NotAllowed, Precondition
from fhir_server.interactions import consenting
from fhir_server.interactions.belong import follow, relate
from fhir_server.interactions.body import says_the_same, stamped
from fhir_server.interactions.content import claim
from fhir_server.interactions.define import define
from fhir_server.interactions.draft import Draft, Save, Saved
from fhir_server.interactions.guard import Guard
from fhir_server.interactions.identify import identify
from fhir_server.interactions.service import Service
from fhir_server.store import audit, resources
from fhir_server.store.audit import Audited
from fhir_server.store.database import Clash, Tx
from fhir_server.store.resources import Current, Write

_AUDIT = "AuditEvent"
_ACTION = {200: "update", 201: "create", 204: "delete"}


async def save(
    service: Service, ctx: Context, tx: Tx, saves: Sequence[Save], guard: Guard | None = None
) -> list[Saved]:
    """Write all of `saves` or none, and return what became of each, in order.

    The number of statements does not grow with the number of saves. Raises Invalid with every problem of every
    resource, Precondition where If-Match fails or an identifier finds several, and what `guard` raises.
    """
    if any(save.type == _AUDIT for save in saves):
        raise NotAllowed("AuditEvents are made by the server alone", allowed=["GET", "HEAD"])
    found = await identify(service, ctx, tx, saves, guard)
    unsure = _check(service, ctx, found.drafts, guard)
    await claim(tx, found.drafts)
    current = await _current(tx, found.drafts)
    unsure = unsure | _check(service, ctx, [d for d in found.drafts if d.keep(current.get(d.self_key))], guard)
    settled = [_settle(ctx.now, draft, current.get(draft.self_key)) for draft in found.drafts]
    changed = [(saved, draft.path) for draft, (saved, write) in zip(found.drafts, settled, strict=True) if write]
    generation = await define(service, ctx, tx, changed)
    writes = [write for _, write in settled if write]
    await _store(service, tx, writes, generation)
    follow(service, ctx, tx, writes)
    if guard:
        done = [d for d, (_, write) in zip(found.drafts, settled, strict=True) if write and d in unsure]
        # Before anything is told of care, so that no write makes its own permission.
        await guard.after_rows(tx, done)
    relate(service, ctx, tx, writes)
    consenting.follow(service, ctx, tx, writes)
    audit.record(
        tx,
        [
            row
            for draft, (one, write) in zip(found.drafts, settled, strict=True)
            if write
            for row in _audited(draft.asked or ctx, one, write)
        ],
    )
    return [
        _nothing(ctx.now, save) if number is None else settled[number][0]
        for save, number in zip(saves, found.of, strict=True)
    ]


def _nothing(now: datetime, save: Save) -> Saved:
    """Return what became of a conditional delete that found nothing."""
    return Saved(save.type, save.id or "", 0, now, 204, None, False)


def _check(service: Service, ctx: Context, drafts: Sequence[Draft], guard: Guard | None) -> set[Draft]:
    """Validate and index every draft, and report the problems of all of them at once.

    Returns those of which the guard can tell only once they are rows.
    """
    problems: list[Issue] = []
    for draft in drafts:
        problems += draft.check(service.indexer, ctx.tenant.id, ctx.base)
    if problems:
        raise Invalid(problems)
    _refuse_twice(drafts)
    return {draft for draft in drafts if guard.after(draft)} if guard else set()


def _refuse_twice(drafts: Sequence[Draft]) -> None:
    seen: set[int] = set()
    for draft in drafts:
        if draft.kept:
            continue
        if draft.self_key in seen:
            raise Invalid(f"{draft.type}/{draft.id} stands more than once in the bundle", draft.path)
        seen.add(draft.self_key)


async def _current(tx: Tx, drafts: Sequence[Draft]) -> Mapping[int, Current]:
    """Return the rows that exist already, locked in one order for all writers."""
    existing = [d.self_key for d in drafts if not d.fresh and not d.kept]
    return await resources.current(tx, sorted(existing)) if existing else {}


def _settle(now: datetime, draft: Draft, row: Current | None) -> tuple[Saved, Write | None]:
    """Decide version and status of one draft against the row it meets."""
    if draft.kept and (found := draft.found):
        return Saved(draft.type, draft.id, found.version, found.updated, 200, found.body, False, found.patient), None
    _as_found(draft, row)
    _precondition(draft, row)
    if draft.members is None:
        return _deletion(now, draft, row)
    if row and row.body is not None and _same(draft, row):
        return Saved(draft.type, draft.id, row.version, row.updated, 200, row.body, False, row.patient), None
    version = row.version + 1 if row else 1
    body = stamped(draft.members, draft.type, draft.id, version, now)
    status = 200 if row and row.body is not None else 201
    saved = Saved(draft.type, draft.id, version, now, status, body, True)
    return saved, draft.write(version, now, body, row)


def _as_found(draft: Draft, row: Current | None) -> None:
    """Raise where the row is another than criteria found: a writer that shares no lock with them was quicker."""
    if draft.absent and row is not None and row.body is not None:
        raise Conflict(f"{draft.type}/{draft.id} exists, and the criteria do not find it", draft.path)
    if draft.found and (row is None or row.version != draft.found.version):
        raise Clash("another writer has changed what the criteria found")


def _precondition(draft: Draft, row: Current | None) -> None:
    if draft.if_match is None:
        return
    if row is None or row.body is None:
        raise Precondition(f"{draft.type}/{draft.id} does not exist, so If-Match cannot hold", draft.path)
    if row.version != draft.if_match:
        raise Precondition(
            f"{draft.type}/{draft.id} is at version {row.version}, not {draft.if_match}: read it again", draft.path
        )


def _same(draft: Draft, row: Current) -> bool:
    """Tell whether nothing would change, in which case the version stays (http.html#update)."""
    assert draft.members is not None
    assert row.body is not None
    return says_the_same(stamped(draft.members, draft.type, draft.id, row.version, row.updated), row.body)


def _deletion(now: datetime, draft: Draft, row: Current | None) -> tuple[Saved, Write | None]:
    if row is None or row.body is None:
        version = row.version if row else 0
        return Saved(draft.type, draft.id, version, now, 204, None, False), None
    saved = Saved(draft.type, draft.id, row.version + 1, now, 204, None, True)
    return saved, draft.write(row.version + 1, now, None, row)


async def _store(service: Service, tx: Tx, writes: Sequence[Write], generation: int) -> None:
    """Hand the rows to the transaction; those that are new get their number here."""
    if not writes:
        return
    fresh = [write for write in writes if not write.rid]
    if fresh:
        for write, rid in zip(fresh, await service.rids.take(len(fresh)), strict=True):
            write.rid = rid
    resources.write(tx, writes, generation)


def _audited(ctx: Context, saved: Saved, write: Write) -> list[Audited]:
    """Return the rows that tell of a write: for the patient whose data it is, and the one whose it was before."""
    now = write.entries.patient if write.entries else None
    before = write.previous.patient if write.previous else None
    return [_row(ctx, saved, patient) for patient in {now, before} - {None} or {None}]


def _row(ctx: Context, saved: Saved, patient: int | None) -> Audited:
    return Audited(
        at=ctx.now,
        action=_ACTION[saved.status],
        subject=ctx.grant.subject,
        client=ctx.grant.client,
        outcome=saved.status,
        request_id=ctx.request_id,
        type=TYPE_CODES[saved.type],
        resource_id=saved.id,
        version=saved.version,
        patient=patient,
        purpose=ctx.grant.purpose,
        token=ctx.grant.jti or None,
        peer=ctx.peer,
    )
