"""Whose rows of the audit a grant may see: its own tenant's alone, and of these by scope and role.

A clinic's administrator sees all, and so does a super admin in a support session; a physician what was done with the
records of patients in care, an attorney what they did themselves, a patient and a patient's app what was done with that
patient's record, a system all.
"""

from __future__ import annotations

from fhir_server.context import Context
from fhir_server.errors import Forbidden
from fhir_server.search.plan import condition
from fhir_server.smart.reach import Who, in_care
from fhir_server.smart.rules import Rules
from fhir_server.smart.scopes import covers

TYPE = "AuditEvent"
_NAMES = {"r": "read", "s": "search"}
_Sql = tuple[str, tuple[object, ...]]


def sight(ctx: Context, rules: Rules, letter: str) -> _Sql:
    """Return what a row must be to be seen, as a condition on the audit under the name of `resource`.

    That is the name by which rules of care ask for a row's patient. Raises Forbidden where no scope or role allows it.
    """
    # What a scope asks of an AuditEvent cannot be asked of a row: such a scope opens nothing.
    contexts = {scope.context for scope in covers(ctx.grant.scopes, TYPE, letter) if not scope.params}
    if not contexts:
        raise Forbidden(f"no scope of this token allows to {_NAMES[letter]} AuditEvent")
    if "system" in contexts:
        return "true", ()
    if "user" in contexts:
        return _of_role(ctx, rules)
    return _of_patient(ctx, rules)


def _of_patient(ctx: Context, rules: Rules) -> _Sql:
    """Return the rows of the one patient of an app, and of them no more than whoever agreed to it may see."""
    member, patient = ctx.grant.member, ctx.grant.patient
    if patient is None:
        return "false", ()
    of_patient: _Sql = "resource.patient = %s", (rules.hasher.self_key(ctx.tenant.id, "Patient", patient),)
    if member is None or member.reference == f"Patient/{patient}":
        return of_patient
    sql, values = _of_role(ctx, rules)
    return f"{of_patient[0]} and ({sql})", (*of_patient[1], *values)


def _of_role(ctx: Context, rules: Rules) -> _Sql:
    member = ctx.grant.member
    if member is not None and member.role == "clinic-admin":
        return "true", ()
    if member is not None and member.role == "super-admin" and ctx.grant.purpose == "SUPPORT":
        return "true", ()
    if member is not None and member.role == "physician":
        sql, values = condition(in_care(Who(rules, ctx.tenant, member, ctx.now, TYPE)), ctx.tenant.id)
        return sql or "false", values
    if member is not None and member.role == "attorney":
        return "resource.subject = %s", (ctx.grant.subject,)
    raise Forbidden("this role does not see the audit")
