"""Everything of one owner as a statement for each page: the owner, its compartment, and what those refer to.

http://hl7.org/fhir/R4/patient-operation-everything.html

Rows go by rank (0 the owner, 1 its compartment, 2 what is referred to) and number, neither of which ever changes: pages
neither skip nor repeat what is there from the first to the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from conformance.r4.types import TYPE_CODES
from fhir_server.search.hashing import param_id
from fhir_server.search.kinds import long_param_id
from fhir_server.search.narrow import Params, Sql
from fhir_server.search.plan import Statement, condition
from fhir_server.search.tree import Tree

# The search parameters that tell when care was given; a type that is not listed has no such date.
CARE_DATES: Mapping[str, tuple[str, ...]] = {
    "Account": ("period",),
    "AdverseEvent": ("date",),
    "AllergyIntolerance": ("onset", "last-date", "date"),
    "Appointment": ("date",),
    "CarePlan": ("date",),
    "CareTeam": ("date",),
    "ChargeItem": ("occurrence",),
    "Claim": ("created",),
    "ClaimResponse": ("created",),
    "ClinicalImpression": ("date",),
    "Communication": ("sent", "received"),
    "CommunicationRequest": ("occurrence", "authored"),
    "Composition": ("period", "date"),
    "Condition": ("onset-date", "abatement-date", "recorded-date"),
    "Consent": ("period", "date"),
    "CoverageEligibilityRequest": ("created",),
    "CoverageEligibilityResponse": ("created",),
    "DetectedIssue": ("identified",),
    "DeviceRequest": ("event-date", "authored-on"),
    "DiagnosticReport": ("date",),
    "DocumentManifest": ("created",),
    "DocumentReference": ("period", "date"),
    "Encounter": ("date",),
    "EpisodeOfCare": ("date",),
    "ExplanationOfBenefit": ("created",),
    "FamilyMemberHistory": ("date",),
    "Flag": ("date",),
    "Goal": ("start-date", "target-date"),
    "ImagingStudy": ("started",),
    "Immunization": ("date",),
    "ImmunizationEvaluation": ("date",),
    "ImmunizationRecommendation": ("date",),
    "Invoice": ("date",),
    "List": ("date",),
    "MeasureReport": ("period",),
    "Media": ("created",),
    "MedicationAdministration": ("effective-time",),
    "MedicationDispense": ("whenhandedover", "whenprepared"),
    "MedicationRequest": ("authoredon", "date"),
    "MedicationStatement": ("effective",),
    "NutritionOrder": ("datetime",),
    "Observation": ("date",),
    "Procedure": ("date",),
    "QuestionnaireResponse": ("authored",),
    "RequestGroup": ("authored",),
    "ResearchSubject": ("date",),
    "RiskAssessment": ("date",),
    "ServiceRequest": ("occurrence", "authored"),
    "Specimen": ("collected",),
    "SupplyRequest": ("date",),
    "VisionPrescription": ("datewritten",),
}
# Before the first row.
START = (-1, 0)
_NUMBERS = [number(name, code) for name, codes in CARE_DATES.items() for code in codes for number in
            (param_id, long_param_id)]  # fmt: skip


class Compartment(msgspec.Struct, frozen=True):
    """Whose everything: the owner's self_key, the keys of which a member holds one, and how members refer to others.

    `members` and `others` are types by what the grant may see of them; `links` are pairs of the type that refers and
    the salt of the reference.
    """

    owner: int
    keys: Sequence[int]
    members: Mapping[Tree, Sequence[str]]
    others: Mapping[Tree, Sequence[str]]
    links: Sequence[tuple[str, int]]


class Wanted(msgspec.Struct, frozen=True):
    """What of it: care within [start, end), updated since, of these types if any, how many after a place."""

    count: int
    within: tuple[datetime, datetime] | None = None
    since: datetime | None = None
    types: Sequence[str] = ()
    after: tuple[int, int] = START


def select(of: Compartment, wanted: Wanted, tenant_id: int) -> Statement:
    """Return the statement for rows (rank, rid, type, id, body, patient) of a page, and one row more to tell of a next.

    The compartment is looked up once, without bodies; what it refers to only where members do not fill the page.
    """
    member, member_values = _member(of, wanted, tenant_id)
    other, other_values = _seen(of.others, tenant_id)
    own, kept_values = _kept(wanted, "member")
    kept, _ = _kept(wanted, "resource")
    sql = (
        "with member as materialized (select resource.rid, resource.type, resource.self_key, resource.keys,"  # noqa: S608
        f" resource.updated, case when resource.self_key = %s then 0 else 1 end as rank from resource where {member}),"
        f" page as materialized (select member.rank, member.rid from member where (member.rank, member.rid) > (%s, %s)"
        f"{own} order by 1, 2 limit %s),"
        " linked as materialized (select distinct key # link.salt as self_key from member"
        " join unnest(%s::smallint[], %s::bigint[]) link (type, salt) on link.type = member.type,"
        " unnest(member.keys) key),"
        " other as (select 2 as rank, resource.rid from resource where (select count(*) from page) <= %s"
        " and resource.tenant_id = %s and resource.body is not null"
        f" and resource.self_key = any(array(select self_key from linked)) and {other}{kept}"
        " and resource.rid <> all(array(select rid from member)) and not resource.keys && %s::bigint[]"
        " and (2, resource.rid) > (%s, %s) order by resource.rid + 0 limit %s),"
        " found as materialized (select * from page union all select * from other order by rank, rid limit %s)"
        " select found.rank, resource.rid, resource.type, resource.id, resource.body, resource.patient"
        " from found join resource on resource.tenant_id = %s and resource.rid = found.rid order by 1, 2"
    )
    more = wanted.count + 1
    values = (
        *(of.owner, *member_values),
        *(*wanted.after, *kept_values, more),
        *([TYPE_CODES[name] for name, _ in of.links], [salt for _, salt in of.links]),
        *(wanted.count, tenant_id, *other_values, *kept_values),
        *(list(of.keys), *wanted.after, more),
        *(more, tenant_id),
    )
    return Statement(sql, values, True)


def _member(of: Compartment, wanted: Wanted, tenant_id: int) -> Sql:
    """Return what a member is: of the compartment or its owner, seen by the grant, of care within the dates."""
    seen, values = _seen(of.members, tenant_id)
    sql = (
        "resource.tenant_id = %s and resource.body is not null"
        f" and (resource.keys && %s::bigint[] or resource.self_key = %s) and {seen}"
    )
    params: Params = (tenant_id, list(of.keys), of.owner, *values)
    if wanted.within is None:
        return sql, params
    # An aggregate, since of EXISTS under an OR the planner would make a table of all dates of the tenant.
    sql += (
        " and (resource.self_key = %s or (select count(*) = 0 or bool_or(x.hi > %s and x.lo < %s) from idx_date x"
        " where x.tenant_id = %s and x.rid = resource.rid and x.param = any(%s::int[])))"
    )
    return sql, (*params, of.owner, *wanted.within, tenant_id, _NUMBERS)


def _seen(groups: Mapping[Tree, Sequence[str]], tenant_id: int) -> Sql:
    pieces, params = [], []
    for tree, types in groups.items():
        allowed, values = condition(tree, tenant_id)
        pieces.append(f"resource.type = any(%s::smallint[]) and {allowed or 'true'}")
        params += [[TYPE_CODES[name] for name in types], *values]
    return f"({' or '.join(f'({piece})' for piece in pieces) or 'false'})", tuple(params)


def _kept(wanted: Wanted, table: str) -> Sql:
    """Return what the client narrows the answer to."""
    sql = ""
    params: Params = ()
    if wanted.since:
        sql, params = f" and {table}.updated >= %s", (wanted.since,)
    if wanted.types:
        types = [TYPE_CODES[name] for name in wanted.types]
        sql, params = f"{sql} and {table}.type = any(%s::smallint[])", (*params, types)
    return sql, params
