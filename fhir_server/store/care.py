"""Who cares for whom, and which case a resource belongs to: written in the transaction of the write that tells it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Protocol

import msgspec

from fhir_server.store.database import Database, Tx


class Relation(Protocol):
    """A practitioner cares for a patient; `search.care.Relation` is one."""

    @property
    def member(self) -> int:
        """self_key of the Practitioner, or of its PractitionerRole."""

    @property
    def by_role(self) -> bool:
        """Whether it is a PractitionerRole's."""

    @property
    def patient(self) -> int:
        """self_key of the Patient."""

    @property
    def kind(self) -> str:
        """What tells it."""

    @property
    def valid_from(self) -> datetime:
        """The first moment."""

    @property
    def valid_to(self) -> datetime | None:
        """The moment from which it does not hold any more."""


class Case(Protocol):
    """What an EpisodeOfCare says of its case; `search.care.Case` is one."""

    @property
    def patient(self) -> int | None:
        """self_key of the Patient."""

    @property
    def status(self) -> str:
        """EpisodeOfCare.status."""

    @property
    def number(self) -> str | None:
        """The first identifier."""

    @property
    def type(self) -> str | None:
        """The first code of the type."""

    @property
    def accident_date(self) -> date | None:
        """The day of the accident."""

    @property
    def accident_state(self) -> str | None:
        """The state in which it was."""


class Linked(msgspec.Struct, frozen=True):
    """A row that was written, and the carriers of cases that it links to: (self_key, tier)."""

    rid: int
    links: Sequence[tuple[int, int]]


_FORGET = "delete from care_relation where tenant_id = %s and source = any(%s::bigint[])"
# A PractitionerRole stands for its practitioner, whose reference is among its keys under the salt; one that is not
# known stands for itself.
_RELATE = """
insert into care_relation (tenant_id, member, patient, kind, valid_from, valid_to, source)
select %s, coalesce(p.self_key, n.member), n.patient, n.kind, n.valid_from, n.valid_to, n.source
from unnest(%s::bigint[], %s::boolean[], %s::bigint[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::bigint[])
         as n (member, by_role, patient, kind, valid_from, valid_to, source)
     left join lateral (
         select t.self_key from resource r, unnest(r.keys) k, resource t
         where n.by_role and r.tenant_id = %s and r.self_key = n.member
           and t.tenant_id = %s and t.self_key = k # %s::bigint limit 1) p on true
on conflict do nothing
"""
_CASES = """
insert into clinic_case (tenant_id, case_key, id, patient, status, number, type, accident_date, accident_state)
select %s, n.* from unnest(%s::bigint[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::date[],
                           %s::text[]) as n
on conflict (tenant_id, case_key) do update set patient = excluded.patient, status = excluded.status,
    number = excluded.number, type = excluded.type, accident_date = excluded.accident_date,
    accident_state = excluded.accident_state
"""
_CLOSE = "delete from clinic_case where tenant_id = %s and case_key = any(%s::bigint[])"
_SETTLE = (
    "select settle_cases(%s, %s::bigint[], %s::smallint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::smallint[])"
)


def forget(tx: Tx, sources: Sequence[int]) -> None:
    """Queue that these resources tell of no care any more."""
    tx.defer(_FORGET, (tx.tenant_id, list(sources)))


def relate(tx: Tx, told: Sequence[tuple[int, Relation]], role_salt: int) -> None:
    """Queue what resources (self_key) tell of care; `role_salt` is that of PractitionerRole.practitioner."""
    columns = [[getattr(one, name) for _, one in told] for name in _RELATION]
    sources = [source for source, _ in told]
    tx.defer(_RELATE, (tx.tenant_id, *columns, sources, tx.tenant_id, tx.tenant_id, role_salt))


_RELATION = ("member", "by_role", "patient", "kind", "valid_from", "valid_to")


def put_cases(tx: Tx, cases: Sequence[tuple[int, str, Case]]) -> None:
    """Queue the cases: self_key and id of the EpisodeOfCare, and what it says."""
    found = [case for _, _, case in cases]
    columns = [[getattr(case, name) for case in found] for name in _CASE]
    tx.defer(_CASES, (tx.tenant_id, [key for key, _, _ in cases], [id_ for _, id_, _ in cases], *columns))


_CASE = ("patient", "status", "number", "type", "accident_date", "accident_state")


def close_cases(tx: Tx, keys: Sequence[int]) -> None:
    """Queue that these cases are no more: their EpisodeOfCare was deleted."""
    tx.defer(_CLOSE, (tx.tenant_id, list(keys)))


def settle(tx: Tx, salts: Sequence[int], carriers: Sequence[int], rows: Sequence[Linked]) -> None:
    """Queue that the rows, which are written, get their cases, and what depends on them too.

    `salts` are those of links, by tier; `carriers` the codes of types that others belong to a case through.
    """
    links = [(row.rid, target, tier) for row in rows for target, tier in row.links]
    columns = [[link[n] for link in links] for n in range(3)]
    tx.defer(_SETTLE, (tx.tenant_id, list(salts), list(carriers), [row.rid for row in rows], *columns))


def settle_again(tx: Tx, salts: Sequence[int], carriers: Sequence[int], rids: Sequence[int]) -> None:
    """Queue the same for rows that stand as they are: their keys tell what they link to."""
    tx.defer(_SETTLE, (tx.tenant_id, list(salts), list(carriers), list(rids), None, None, None))


_BUSIEST = """
select r.id, r.self_key from resource r where r.tenant_id = %s and r.type = %s and r.body is not null
order by (select count(*) from care_relation c where c.tenant_id = r.tenant_id and c.member = r.self_key) desc, r.id
limit 1
"""


async def busiest(db: Database, tenant_id: int, type_: int) -> tuple[str, int] | None:
    """Return id and self_key of the resource of this type that cares for the most patients; None where none is."""
    rows = await db.fetch(tenant_id, _BUSIEST, (tenant_id, type_))
    return (rows[0][0], rows[0][1]) if rows else None


async def keys_of(db: Database, tenant_id: int, type_: int) -> list[int]:
    """Return the self_keys of all resources of a type."""
    sql = "select self_key from resource where tenant_id = %s and type = %s and body is not null"
    return [key for (key,) in await db.fetch(tenant_id, sql, (tenant_id, type_))]
