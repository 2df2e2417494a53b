"""The SQL of leaves that role rules ask: class, release, care relation and case of a row, in the statement itself.

What a rule looks at is read when the statement runs, so that an end of care or a revoked release counts at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fhir_server.search.tree import Consented, InCare, OfCare, OfCases, OfClass, Released

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
    # Whoever released the case is its patient still: a case that was corrected to be another's is released anew.
    " join clinic_case o on o.tenant_id = r.tenant_id and o.case_key = r.case_key and o.patient = r.patient"
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


def _consented(leaf: Consented, tenant_id: int) -> _Sql:
    by_role = None if leaf.by_role is None else list(leaf.by_role)
    purposes = None if leaf.purposes is None else list(leaf.purposes)
    asked = (tenant_id, list(leaf.actors), by_role, purposes, leaf.at, leaf.emergency)
    return _CONSENTED, (tenant_id, *asked)


_OF_CARE = (
    "resource.keys && array(select c.patient from care_relation c where c.tenant_id = %s and c.member = %s"
    " and c.valid_from <= %s and (c.valid_to is null or c.valid_to > %s))"
)


def _in_care(leaf: InCare, tenant_id: int) -> _Sql:
    kinds = ([*leaf.kinds],) if leaf.kinds else ()
    return _CARE_OF[bool(kinds)], (tenant_id, leaf.member, leaf.at, leaf.at, *kinds)


def _cases(leaf: OfCases, tenant_id: int) -> _Sql:
    values = (tenant_id, leaf.person, *[leaf.at] * 5)
    return (_PATIENTS, (tenant_id, *values)) if leaf.patients else (f"resource.cases && {_CASES}", values)


_CARE_OF = (_CARE.format(""), _CARE.format(_KINDS))
# What a leaf asks of a row of `resource`, with its values.
HELD: dict[type, Callable[[Any, int], _Sql]] = {
    OfClass: lambda leaf, tenant_id: ("resource.class = any(%s::smallint[])", (list(leaf.classes),)),
    Released: lambda leaf, tenant_id: ("resource.released_at <= %s", (leaf.at,)),
    InCare: _in_care,
    OfCare: lambda leaf, tenant_id: (_OF_CARE, (tenant_id, leaf.member, leaf.at, leaf.at)),
    OfCases: _cases,
    Consented: _consented,
}
