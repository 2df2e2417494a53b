"""Whose rows of the audit a grant may see: its own tenant's alone, and of these by scope and role.

A clinic's administrator sees all, and so does a super admin in a support session; a physician what was done with the
records of patients in care, an attorney what they did themselves, a patient and a patient's app what was done with that
patient's record, a system all.
"""

from __future__ import annotations

from fhir_server.context import Context
from fhir_server.errors import Forbidden
from fhir_server.search.plan import condition
from fhir_server.smart.reach import Who
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
    if ctx.grant.patient is None:
        return "false", ()
    return "resource.patient = %s", (rules.hasher.self_key(ctx.tenant.id, "Patient", ctx.grant.patient),)


def _of_role(ctx: Context, rules: Rules) -> _Sql:
    member = ctx.grant.member
    if member is not None and member.role == "clinic-admin":
        return "true", ()
    if member is not None and member.role == "super-admin" and ctx.grant.purpose == "SUPPORT":
        return "true", ()
    if member is not None and member.role == "physician":
        sql, values = condition(Who(rules, ctx.tenant, member, ctx.now, TYPE).care(), ctx.tenant.id)
        return sql or "false", values
    if member is not None and member.role == "attorney":
        return "resource.subject = %s", (ctx.grant.subject,)
    raise Forbidden("this role does not see the audit")
