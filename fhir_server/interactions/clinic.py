"""The clinic's acts on cases, attorneys, releases and care: each in one transaction, its audit with it.

http://hl7.org/fhir/R4/episodeofcare.html · https://www.ecfr.gov/current/title-45/section-164.508
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from conformance.r4.types import CODE_TYPES, TYPE_CODES
from conformance.references import literal
from fhir_server.context import Context
from fhir_server.errors import Conflict, Forbidden, Invalid, NotFound, Unprocessable
from fhir_server.interactions import belong
from fhir_server.interactions.draft import Save
from fhir_server.interactions.patch import changing
from fhir_server.interactions.service import Service
from fhir_server.interactions.write import commit
from fhir_server.search.ownership import Class
from fhir_server.search.plan import condition
from fhir_server.smart.acts import require
from fhir_server.smart.policy import visible
from fhir_server.store import audit, cases
from fhir_server.store.audit import Audited
from fhir_server.store.cases import Assigned, Attorney, Authorization, Case, Record, Where
from fhir_server.store.database import Tx

CASE = "EpisodeOfCare"
CareKind = Literal["assigned", "cover", "referral"]
_PRACTITIONERS = ("Practitioner", "PractitionerRole")


class Parties(msgspec.Struct, frozen=True):
    """A case with who may see it from outside, and by which authorization; `people` gives address and name."""

    case: Case
    attorneys: list[Attorney]
    authorizations: list[Authorization]
    people: dict[int, tuple[str, str]]


def _seen(service: Service, ctx: Context, resource_type: str) -> Where:
    return condition(visible(ctx, service.rules, resource_type, "r"), ctx.tenant.id)


def _key(service: Service, ctx: Context, resource_type: str, id_: str) -> int:
    return service.hasher.self_key(ctx.tenant.id, resource_type, id_)


def _named(service: Service, ctx: Context, reference: str, types: Sequence[str] = ()) -> tuple[str, str, int]:
    """Return type, id and self_key of a reference such as Patient/1; raise Invalid for another."""
    found = literal(reference)
    if found is None or found.base or (types and found.type not in types):
        raise Invalid(f"{reference[:80]!r} is no reference such as {'/… or '.join(types or ('Observation',))}/…")
    return found.type, found.id, _key(service, ctx, found.type, found.id)


def tell(ctx: Context, tx: Tx, action: str, of: tuple[str, str], before: Any, after: Any) -> None:
    """Queue the audit of an act on a resource: what was there before, and what after."""
    detail = {"before": msgspec.to_builtins(before), "after": msgspec.to_builtins(after)}
    row = Audited(
        at=ctx.now,
        action=action,
        subject=ctx.grant.subject,
        client=ctx.grant.client,
        outcome=200,
        request_id=ctx.request_id,
        type=TYPE_CODES[of[0]],
        resource_id=of[1],
        detail=detail,
    )
    audit.record(tx, [row])


# ---- cases ------------------------------------------------------------------------------------------------------


async def listed(
    service: Service, ctx: Context, *, patient: str | None, number: str | None, after: str, most: int
) -> list[Case]:
    """Return the cases that the one who asks may see."""
    key = _named(service, ctx, patient, ("Patient",))[2] if patient else None
    seen = _seen(service, ctx, CASE)
    return await cases.listed(service.db, ctx.tenant.id, seen, patient=key, number=number, after=after, most=most)


async def parties(service: Service, ctx: Context, id_: str) -> Parties:
    """Return a case with its attorneys and authorizations."""
    require(ctx, "case.parties")
    async with service.db.transaction(ctx.tenant.id) as tx:
        case = await cases.locked(tx, _key(service, ctx, CASE, id_), _seen(service, ctx, CASE))
        found, allowed = await cases.attorneys(tx, case.key), await cases.authorizations(tx, case.key)
        persons = [*(one.person for one in found), *(one.person for one in allowed if one.person is not None)]
        return Parties(case, found, allowed, await cases.people_of(tx, persons))


async def add_attorney(
    service: Service, ctx: Context, id_: str, email: str, role: str, begins: datetime | None, ends: datetime | None
) -> Attorney:
    """Make somebody attorney of a case."""
    require(ctx, "case.attorney")
    if role not in cases.ATTORNEYS:
        raise Invalid(f"an attorney of a case is one of {', '.join(cases.ATTORNEYS)}")
    begins = begins or ctx.now
    if ends is not None and ends <= begins:
        raise Unprocessable("the end is not after the beginning")
    async with service.db.transaction(ctx.tenant.id) as tx:
        case = await cases.locked(tx, _key(service, ctx, CASE, id_), _seen(service, ctx, CASE))
        person = await cases.attorney_by_email(tx, email)
        made = await cases.add_attorney(tx, case.key, person, role, begins, ends)
        tell(ctx, tx, "case.attorney.add", (CASE, id_), None, made)
    return made


async def end_attorney(service: Service, ctx: Context, id_: str, entry: int, at: datetime | None) -> Attorney:
    """End somebody's being attorney of a case, now or at a moment."""
    require(ctx, "case.attorney")
    async with service.db.transaction(ctx.tenant.id) as tx:
        case = await cases.locked(tx, _key(service, ctx, CASE, id_), _seen(service, ctx, CASE))
        before, after = await cases.end_attorney(tx, case.key, entry, at or ctx.now)
        tell(ctx, tx, "case.attorney.end", (CASE, id_), before, after)
    return after


async def authorize(
    service: Service, ctx: Context, id_: str, email: str | None, begins: datetime | None, expires: datetime
) -> Authorization:
    """Record that the patient lets a case be shown to its attorneys, or to one of them alone."""
    require(ctx, "case.authorize")
    begins = begins or ctx.now
    if expires <= max(begins, ctx.now):
        raise Unprocessable("an authorization ends after it begins, and not before now")
    async with service.db.transaction(ctx.tenant.id) as tx:
        case = await cases.locked(tx, _key(service, ctx, CASE, id_), _seen(service, ctx, CASE))
        if case.patient_key is None:
            raise Unprocessable("the case names no patient of this clinic, so nobody can authorize it")
        person = None if email is None else await cases.attorney_by_email(tx, email)
        made = await cases.authorize(tx, case.key, case.patient_key, person, begins, expires)
        tell(ctx, tx, "case.authorize", (CASE, id_), None, made)
    return made


async def revoke(service: Service, ctx: Context, id_: str, entry: int) -> Authorization:
    """Revoke an authorization: the next request sees nothing by it."""
    require(ctx, "case.authorize")
    async with service.db.transaction(ctx.tenant.id) as tx:
        case = await cases.locked(tx, _key(service, ctx, CASE, id_), _seen(service, ctx, CASE))
        before, after = await cases.revoke(tx, case.key, entry, ctx.now)
        tell(ctx, tx, "case.revoke", (CASE, id_), before, after)
    return after


# ---- records of cases -------------------------------------------------------------------------------------------


async def assign(service: Service, ctx: Context, id_: str, reference: str) -> None:
    """Put a record into a case; raise Conflict where its encounter or order tells another."""
    require(ctx, "case.assign")
    async with service.db.transaction(ctx.tenant.id) as tx:
        case, record = await _of_case(service, ctx, tx, id_, reference)
        if record.patient is None or record.patient != case.patient_key:
            raise Unprocessable("a case holds the records of its own patient alone")
        before = record.cases or []
        if not await cases.assign(tx, record.self_key, case.key, ctx.now):
            return
        belong.settle(service, tx, ctx.tenant.id, [record.rid])
        after = await cases.cases_of(tx, record.rid)
        if case.key not in after:
            raise Conflict("its encounter or its order tells which case it belongs to")
        tell(ctx, tx, "case.assign", (CODE_TYPES[record.type], record.id), {"cases": before}, {"cases": after})


async def unassign(service: Service, ctx: Context, id_: str, reference: str) -> None:
    """Take a record out of a case that a person had put it into."""
    require(ctx, "case.assign")
    async with service.db.transaction(ctx.tenant.id) as tx:
        case, record = await _of_case(service, ctx, tx, id_, reference)
        await cases.unassign(tx, record.self_key, case.key)
        belong.settle(service, tx, ctx.tenant.id, [record.rid])
        after = await cases.cases_of(tx, record.rid)
        before = {"cases": record.cases or []}
        tell(ctx, tx, "case.unassign", (CODE_TYPES[record.type], record.id), before, {"cases": after})


async def _of_case(service: Service, ctx: Context, tx: Tx, id_: str, reference: str) -> tuple[Case, Record]:
    name, _, key = _named(service, ctx, reference)
    case = await cases.locked(tx, _key(service, ctx, CASE, id_), _seen(service, ctx, CASE))
    (record,) = await cases.records(tx, [(key, _seen(service, ctx, name))])
    return case, record


async def release(service: Service, ctx: Context, references: Sequence[str], *, withdraw: bool = False) -> list[Record]:
    """Release records to the attorneys of their cases, or withdraw them; all or none."""
    named = [_named(service, ctx, reference) for reference in dict.fromkeys(references)]
    for name, _, _ in named:
        require(ctx, "record.release", name)
    async with service.db.transaction(ctx.tenant.id) as tx:
        found = await cases.records(tx, [(key, _seen(service, ctx, name)) for name, _, key in named])
        if not withdraw:
            for record in found:
                _require_releasable(record)
        changed = [record for record in found if (record.released_at is None) != withdraw]
        at = None if withdraw else ctx.now
        cases.set_released(tx, [record.rid for record in changed], at)
        for record in changed:
            tell(
                ctx,
                tx,
                "record.withdraw" if withdraw else "record.release",
                (CODE_TYPES[record.type], record.id),
                {"released_at": record.released_at, "version": record.version},
                {"released_at": at, "version": record.version},
            )
    return [msgspec.structs.replace(one, released_at=at) if one in changed else one for one in found]


def _require_releasable(record: Record) -> None:
    if record.class_ == Class.PSYCH:
        raise Forbidden("what a guarded label closes is not released to attorneys")
    if not record.cases:
        raise Conflict(f"{CODE_TYPES[record.type]}/{record.id} belongs to no case yet: put it into one first")


async def unlabel(service: Service, ctx: Context, reference: str, codes: Sequence[str]) -> None:
    """Take labels away that protect a record; those that its codes ask for come back by themselves."""
    name, id_, _ = _named(service, ctx, reference)
    require(ctx, "record.unlabel", name)
    gone = {code.upper() for code in codes}

    def changed(value: Any) -> Any:
        meta = value.get("meta", {})
        labels = [one for one in meta.get("security", []) if str(one.get("code", "")).upper() not in gone]
        meta.pop("security", None)
        return {**value, "meta": {**meta, **({"security": labels} if labels else {})}}

    await commit(service, ctx, [Save(type=name, action="patch", id=id_, patch=changing(changed), unlabel=True)])


# ---- care -------------------------------------------------------------------------------------------------------


async def care_of(service: Service, ctx: Context, patient: str) -> list[Assigned]:
    """Return who cares for a patient, now or later, and by what."""
    require(ctx, "care.see")
    key = _named(service, ctx, patient, ("Patient",))[2]
    return await cases.care_of(service.db, ctx.tenant.id, key, _seen(service, ctx, "Patient"), ctx.now)


async def assign_care(
    service: Service,
    ctx: Context,
    practitioner: str,
    patient: str,
    kind: CareKind,
    begins: datetime | None,
    ends: datetime | None,
) -> Assigned:
    """Assign a patient to a practitioner, or hand a patient to one for a time."""
    require(ctx, "care.assign" if kind == "assigned" else "care.cover")
    if kind != "assigned" and ctx.grant.member and ctx.grant.member.reference == practitioner:
        raise Forbidden("nobody hands a patient to themselves")
    begins = begins or ctx.now
    if ends is not None and ends <= begins:
        raise Unprocessable("the end is not after the beginning")
    if kind == "cover" and ends is None:
        raise Unprocessable("who covers for another does so until a moment")
    _, _, member = _named(service, ctx, practitioner, _PRACTITIONERS[:1])
    _, id_, key = _named(service, ctx, patient, ("Patient",))
    async with service.db.transaction(ctx.tenant.id) as tx:
        await cases.records(tx, [(key, _seen(service, ctx, "Patient")), (member, _seen(service, ctx, "Practitioner"))])
        number = await cases.assign_care(tx, member, key, kind, begins, ends)
        made = Assigned(number, practitioner, patient, kind, begins, ends)
        tell(ctx, tx, "care.assign", ("Patient", id_), None, made)
    return made


async def end_care(service: Service, ctx: Context, entry: int) -> Assigned:
    """End an assignment of a patient: the next request sees nothing by it."""
    require(ctx, "care.cover")
    async with service.db.transaction(ctx.tenant.id) as tx:
        before, after = await cases.end_care(tx, entry, ctx.now, _seen(service, ctx, "Patient"))
        if before.kind == "assigned":
            require(ctx, "care.assign")
        if before.patient is None:
            raise NotFound("there is no such assignment")
        tell(ctx, tx, "care.end", ("Patient", before.patient.partition("/")[2]), before, after)
    return after
