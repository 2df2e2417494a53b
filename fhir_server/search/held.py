"""The SQL of leaves that role rules ask: class, release, care relation and case of a row, in the statement itself.

What a rule looks at is read when the statement runs, so that an end of care or a revoked release counts at once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fhir_server.search.tree import Consented, Held, InCare, OfCases, OfClass, Released

_Sql = tuple[str, tuple[Any, ...]]

_CARE = (
    "exists (select from care_relation c where c.tenant_id = %s and c.member = %s and c.patient = resource.patient"
    " and c.valid_from <= %s and (c.valid_to is null or c.valid_to > %s){})"
)
_KINDS = " and c.kind = any(%s::text[])"
# As an array it is looked up once for a statement, however many rows are asked.
_CASES = (
    "array(select a.case_key from case_attorney a join release_of_information r"
    " on r.tenant_id = a.tenant_id and r.case_key = a.case_key and (r.person_id is null or r.person_id = a.person_id)"
    " where a.tenant_id = %s and a.person_id = %s"
    " and a.valid_from <= %s and (a.valid_to is null or a.valid_to > %s)"
    " and r.valid_from <= %s and r.expires > %s and (r.revoked_at is null or r.revoked_at > %s))"
)
_PATIENTS = (
    f"resource.patient = any(array(select k.patient from clinic_case k where k.tenant_id = %s"  # noqa: S608
    f" and k.case_key = any({_CASES})))"
)

# The first half is a look at an index, for nearly all patients the only one; the function is planned by itself.
_CONSENTED = (
    "(not exists (select from consent_rule c where c.tenant_id = %s and c.patient = resource.patient)"
    " or not consent_closes(%s, resource.rid, resource.type, resource.self_key, resource.patient, resource.keys,"
    " %s::bigint[], %s::bigint[], %s::text[], %s, %s))"
)


def held(leaf: Held, tenant_id: int) -> _Sql:
    """Return what a leaf asks of a row of `resource`, with its values."""
    match leaf:
        case OfClass(classes):
            return "resource.class = any(%s::smallint[])", (list(classes),)
        case Released(at):
            return "resource.released_at <= %s", (at,)
        case InCare(member, at, kinds):
            return _CARE.format(_KINDS if kinds else ""), (tenant_id, member, at, at, *([list(kinds)] if kinds else []))
        case OfCases(person, at, patients):
            return _cases(tenant_id, person, at, patients)
        case Consented():
            return _CONSENTED, (tenant_id, *_asked(leaf, tenant_id))


def _asked(leaf: Consented, tenant_id: int) -> tuple[Any, ...]:
    by_role = None if leaf.by_role is None else list(leaf.by_role)
    purposes = None if leaf.purposes is None else list(leaf.purposes)
    return tenant_id, list(leaf.actors), by_role, purposes, leaf.at, leaf.emergency


def _cases(tenant_id: int, person: int, at: datetime, patients: bool) -> _Sql:
    values = (tenant_id, person, at, at, at, at, at)
    return (_PATIENTS, (tenant_id, *values)) if patients else (f"resource.cases && {_CASES}", values)
