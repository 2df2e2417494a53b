"""Cases as the clinic sees them: their attorneys, what patients released, what was put into them by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import msgspec

from conformance.r4.types import CODE_TYPES
from fhir_server.errors import Conflict, NotFound, Unprocessable
from fhir_server.store.database import Database, Tx

Where = tuple[str, tuple[Any, ...]]
ATTORNEYS = ("lead", "co-counsel", "paralegal")


class Case(msgspec.Struct, frozen=True):
    """A case; `id` is that of its EpisodeOfCare, `key` its self_key, `patient_key` that of the patient."""

    id: str
    patient: str | None
    number: str | None
    type: str | None
    accident_date: date | None
    accident_state: str | None
    status: str
    key: int
    patient_key: int | None


class Attorney(msgspec.Struct, frozen=True):
    """Somebody is attorney of a case from one moment to another."""

    id: int
    person: int
    role: str
    valid_from: datetime
    valid_to: datetime | None


class Authorization(msgspec.Struct, frozen=True):
    """A patient lets a case be shown; `person` is the only recipient, None every attorney of the case."""

    id: int
    person: int | None
    valid_from: datetime
    expires: datetime
    revoked_at: datetime | None


_FROM = (
    " from clinic_case c join resource on resource.tenant_id = c.tenant_id and resource.self_key = c.case_key"
    " and resource.body is not null"
    " left join resource p on p.tenant_id = c.tenant_id and p.self_key = c.patient"
    " where c.tenant_id = %s"
)
_COLUMNS = (
    "select c.id, 'Patient/' || p.id, c.number, c.type, c.accident_date, c.accident_state, c.status, c.case_key,"
    " c.patient"
)


async def listed(
    db: Database, tenant_id: int, seen: Where, *, patient: int | None, number: str | None, after: str, most: int
) -> list[Case]:
    """Return the cases that the condition on their EpisodeOfCare shows, by id, those behind `after`."""
    sql = (
        f"{_COLUMNS}{_FROM} and {seen[0] or 'true'} and (%s::bigint is null or c.patient = %s)"
        " and (%s::text is null or c.number = %s) and c.id > %s order by c.id limit %s"
    )
    rows = await db.fetch(
        tenant_id, sql, (tenant_id, *seen[1], patient, patient, number, number, after, most), custom_plan=True
    )
    return [Case(*row) for row in rows]


async def locked(tx: Tx, key: int, seen: Where) -> Case:
    """Return a case that the condition shows, its row locked to the end of the transaction; raise NotFound."""
    sql = f"{_COLUMNS}{_FROM} and {seen[0] or 'true'} and c.case_key = %s for update of c"
    rows = await tx.fetch(sql, (tx.tenant_id, *seen[1], key))
    if not rows:
        raise NotFound("there is no such case")
    return Case(*rows[0])


# ---- attorneys --------------------------------------------------------------------------------------------------

_ATTORNEY = "id, person_id, role, valid_from, valid_to"


async def attorneys(tx: Tx, key: int) -> list[Attorney]:
    """Return all who are, were and will be attorneys of a case, the latest first."""
    sql = f"select {_ATTORNEY} from case_attorney where tenant_id = %s and case_key = %s order by valid_from desc, id"  # noqa: S608
    return [Attorney(*row) for row in await tx.fetch(sql, (tx.tenant_id, key))]


async def add_attorney(
    tx: Tx, key: int, person: int, role: str, valid_from: datetime, valid_to: datetime | None
) -> Attorney:
    """Make somebody attorney of a locked case; raise Conflict where they are so in that time already."""
    met = await tx.fetch(
        "select 1 from case_attorney where tenant_id = %s and case_key = %s and person_id = %s"
        " and valid_from < coalesce(%s::timestamptz, 'infinity') and coalesce(valid_to, 'infinity') > %s",
        (tx.tenant_id, key, person, valid_to, valid_from),
    )
    if met:
        raise Conflict("this person is attorney of the case in that time already")
    rows = await tx.fetch(
        "insert into case_attorney (tenant_id, case_key, person_id, role, valid_from, valid_to)"  # noqa: S608
        f" values (%s, %s, %s, %s, %s, %s) returning {_ATTORNEY}",
        (tx.tenant_id, key, person, role, valid_from, valid_to),
    )
    return Attorney(*rows[0])


async def end_attorney(tx: Tx, key: int, id_: int, at: datetime) -> tuple[Attorney, Attorney]:
    """End it at a moment, and return it before and after; raise NotFound, or Conflict where it has ended."""
    before = await _one(tx, f"select {_ATTORNEY} from case_attorney", key, id_)  # noqa: S608
    if before[4] is not None and before[4] <= at:
        raise Conflict("it has ended already")
    rows = await tx.fetch(
        "update case_attorney set valid_to = greatest(%s, valid_from)"  # noqa: S608
        f" where tenant_id = %s and id = %s returning {_ATTORNEY}",
        (at, tx.tenant_id, id_),
    )
    return Attorney(*before), Attorney(*rows[0])


async def attorney_by_email(tx: Tx, email: str) -> int:
    """Return the person of this address who is an attorney here; raise Unprocessable for anybody else."""
    rows = await tx.fetch(
        "select p.id from person p join membership m on m.person_id = p.id where m.tenant_id = %s and p.email = %s"
        " and m.role = 'attorney' and m.ended is null and p.disabled is null",
        (tx.tenant_id, email.strip().lower()),
    )
    if not rows:
        raise Unprocessable("no attorney of this clinic has this address: concord user add")
    return int(rows[0][0])


async def people_of(tx: Tx, persons: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Return address and name of persons."""
    rows = await tx.fetch("select id, email, name from person where id = any(%s::bigint[])", (sorted(set(persons)),))
    return {id_: (email, name) for id_, email, name in rows}


async def _one(tx: Tx, select: str, key: int, id_: int) -> tuple[Any, ...]:
    rows = await tx.fetch(f"{select} where tenant_id = %s and case_key = %s and id = %s", (tx.tenant_id, key, id_))
    if not rows:
        raise NotFound("the case has no such entry")
    return rows[0]


# ---- releases of information ------------------------------------------------------------------------------------

_RELEASE = "id, person_id, valid_from, expires, revoked_at"


async def authorizations(tx: Tx, key: int) -> list[Authorization]:
    """Return the releases of information of a case, the latest first."""
    sql = f"select {_RELEASE} from release_of_information where tenant_id = %s and case_key = %s order by id desc"  # noqa: S608
    return [Authorization(*row) for row in await tx.fetch(sql, (tx.tenant_id, key))]


async def authorize(
    tx: Tx, key: int, patient: int, person: int | None, valid_from: datetime, expires: datetime
) -> Authorization:
    """Record that the patient lets a case be shown."""
    rows = await tx.fetch(
        "insert into release_of_information (tenant_id, case_key, patient, person_id, valid_from, expires)"  # noqa: S608
        f" values (%s, %s, %s, %s, %s, %s) returning {_RELEASE}",
        (tx.tenant_id, key, patient, person, valid_from, expires),
    )
    return Authorization(*rows[0])


async def revoke(tx: Tx, key: int, id_: int, at: datetime) -> tuple[Authorization, Authorization]:
    """Revoke one of a locked case, and return it before and after; raise NotFound, Conflict where it was revoked."""
    before = await _one(tx, f"select {_RELEASE} from release_of_information", key, id_)  # noqa: S608
    if before[4] is not None:
        raise Conflict("it was revoked already")
    sql = f"update release_of_information set revoked_at = %s where tenant_id = %s and id = %s returning {_RELEASE}"  # noqa: S608
    rows = await tx.fetch(sql, (at, tx.tenant_id, id_))
    return Authorization(*before), Authorization(*rows[0])


# ---- records of a case ------------------------------------------------------------------------------------------


class Record(msgspec.Struct, frozen=True):
    """A resource with what tells who else may see it."""

    rid: int
    type: int
    id: str
    version: int
    self_key: int
    patient: int | None
    cases: list[int] | None
    class_: int | None
    released_at: datetime | None


async def records(tx: Tx, places: Sequence[tuple[int, Where]]) -> list[Record]:
    """Return the live resources (self_key, and what must hold of the row), locked; raise NotFound for another."""
    found = {}
    for self_key, (where, params) in sorted(places):
        rows = await tx.fetch(
            "select rid, type, id, version, self_key, patient, cases, class, released_at from resource"  # noqa: S608
            f" where tenant_id = %s and self_key = %s and body is not null and {where or 'true'}"
            " for update of resource",
            (tx.tenant_id, self_key, *params),
        )
        if not rows:
            raise NotFound("there is no such record")
        found[self_key] = Record(*rows[0])
    return [found[self_key] for self_key, _ in places]


async def assign(tx: Tx, self_key: int, case_key: int, now: datetime) -> bool:
    """Put a record into a case by hand; return False where it was put there before."""
    rows = await tx.fetch(
        "insert into case_assignment (tenant_id, self_key, case_key, assigned) values (%s, %s, %s, %s)"
        " on conflict do nothing returning 1",
        (tx.tenant_id, self_key, case_key, now),
    )
    return bool(rows)


async def unassign(tx: Tx, self_key: int, case_key: int) -> None:
    """Take out of a case what was put there by hand; raise NotFound where nothing was."""
    rows = await tx.fetch(
        "delete from case_assignment where tenant_id = %s and self_key = %s and case_key = %s returning 1",
        (tx.tenant_id, self_key, case_key),
    )
    if not rows:
        raise NotFound("nobody has put this record into the case")


async def cases_of(tx: Tx, rid: int) -> list[int]:
    """Return the cases that a resource belongs to now."""
    rows = await tx.fetch("select cases from resource where tenant_id = %s and rid = %s", (tx.tenant_id, rid))
    return list(rows[0][0] or ())


def set_released(tx: Tx, rids: Sequence[int], at: datetime | None) -> None:
    """Queue that locked records are released to attorneys from a moment on, or not any more."""
    tx.defer(
        "update resource set released_at = %s::timestamptz where tenant_id = %s and rid = any(%s::bigint[])",
        (at, tx.tenant_id, list(rids)),
    )


# ---- care relations that people make ----------------------------------------------------------------------------


class Assigned(msgspec.Struct, frozen=True):
    """A care relation; `id` None where a record tells it."""

    id: int | None
    practitioner: str | None
    patient: str | None
    kind: str
    valid_from: datetime
    valid_to: datetime | None


_BY_HAND = "kind in ('assigned', 'cover', 'referral')"
_CARE = (
    f"select case when {_BY_HAND} then c.source end, m.type, m.id, 'Patient/' || resource.id, c.kind,"  # noqa: S608
    " c.valid_from, c.valid_to from care_relation c"
    " join resource on resource.tenant_id = c.tenant_id and resource.self_key = c.patient"
    " left join resource m on m.tenant_id = c.tenant_id and m.self_key = c.member"
    " where c.tenant_id = %s"
)


async def care_of(db: Database, tenant_id: int, patient: int, seen: Where, at: datetime) -> list[Assigned]:
    """Return who cares, now or later, for a patient whom the condition shows."""
    sql = (
        f"{_CARE} and c.patient = %s and {seen[0] or 'true'} and (c.valid_to is null or c.valid_to > %s)"
        " order by c.valid_from, c.source"
    )
    return [_assigned(row) for row in await db.fetch(tenant_id, sql, (tenant_id, patient, *seen[1], at))]


def _assigned(row: tuple[Any, ...]) -> Assigned:
    id_, type_code, name, *rest = row
    return Assigned(id_, f"{CODE_TYPES[type_code]}/{name}" if name else None, *rest)


async def assign_care(
    tx: Tx, member: int, patient: int, kind: str, valid_from: datetime, valid_to: datetime | None
) -> int:
    """Assign a patient to a practitioner, and return the number of the assignment."""
    rows = await tx.fetch(
        "insert into care_relation (tenant_id, member, patient, kind, valid_from, valid_to, source)"
        " values (%s, %s, %s, %s, %s, %s, nextval('care_id')) returning source",
        (tx.tenant_id, member, patient, kind, valid_from, valid_to),
    )
    return int(rows[0][0])


async def end_care(tx: Tx, id_: int, at: datetime, seen: Where) -> tuple[Assigned, Assigned]:
    """End an assignment of a patient whom the condition shows, and return it before and after.

    Raises NotFound, and Conflict where it has ended.
    """
    rows = await tx.fetch(
        f"{_CARE} and c.source = %s and c.{_BY_HAND} and {seen[0] or 'true'} for update of c",
        (tx.tenant_id, id_, *seen[1]),
    )
    if not rows:
        raise NotFound("there is no such assignment")
    before = _assigned(rows[0])
    if before.valid_to is not None and before.valid_to <= at:
        raise Conflict("it has ended already")
    ended = max(at, before.valid_from)
    tx.defer(
        f"update care_relation set valid_to = %s where tenant_id = %s and source = %s and {_BY_HAND}",  # noqa: S608
        (ended, tx.tenant_id, id_),
    )
    return before, msgspec.structs.replace(before, valid_to=ended)
