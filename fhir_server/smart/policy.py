"""What a grant may see, as a search tree that every query carries. One tree for reads, searches and counts.

https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html

Tenant ∧ scopes ∧ rules ∧ consent. The tenant is the database's wall. Each scope that covers the interaction adds the
rows that its kind may reach, narrowed by its parameters: a patient's one compartment, a user's what the role of the
member may reach as of now, a system's everything. What patients deny is taken away from all of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from conformance.structures import STORABLE
from fhir_server.context import Context, Scope
from fhir_server.errors import Forbidden, Invalid
from fhir_server.search.ownership import Class
from fhir_server.search.secured import secured_by, unsecured
from fhir_server.search.tree import Everything, Nothing, OfClass, OfPatient, Tree, all_of, any_of
from fhir_server.smart.consent import consented
from fhir_server.smart.granular import tree_of
from fhir_server.smart.masking import veiled
from fhir_server.smart.reach import Who, reach, together
from fhir_server.smart.roles import rules_for
from fhir_server.smart.rules import Rules
from fhir_server.smart.scopes import covers

__all__ = ["SHARED", "Rules", "of_role", "visible"]

# Types that belong to no patient and that a patient's app needs to understand the record.
SHARED = frozenset(
    ("Practitioner", "PractitionerRole", "Organization", "Location", "Medication", "HealthcareService", "Endpoint")
)
_NAMES = {"c": "create", "r": "read", "u": "update", "d": "delete", "s": "search"}
_READING = frozenset("rs")
_OPEN = OfClass(tuple(sorted(c.value for c in Class if c is not Class.PSYCH)))


def visible(ctx: Context, rules: Rules, resource_type: str, letter: str) -> Tree:
    """Return the tree of rows that the grant may touch by interaction `letter` (one of c r u d s).

    Raises Forbidden where no scope covers the type or the interaction, and where a user's scope has no user.
    """
    allowed = covers(ctx.grant.scopes, resource_type, letter)
    if not allowed:
        raise Forbidden(f"no scope of this token allows to {_NAMES[letter]} {resource_type}")
    if resource_type == "Binary":
        return _binaries(ctx, rules, allowed, letter)
    rows: Tree = Everything()
    if not any(scope.context == "system" and not scope.params for scope in allowed):
        found = [_narrowed(ctx, rules, scope, resource_type, letter) for scope in allowed]
        rows = found[0] if len(found) == 1 else any_of(found)
    if ctx.grant.member is None and all(scope.context == "patient" for scope in allowed):
        # Patients see what they deny to others.
        return rows
    return all_of((rows, consented(ctx, rules.hasher, resource_type, letter)))


def _narrowed(ctx: Context, rules: Rules, scope: Scope, resource_type: str, letter: str) -> Tree:
    """Return what a scope reaches of a type, within its parameters."""
    if scope.params and any(name.partition(":")[0] in veiled(ctx).get(resource_type, ()) for name, _ in scope.params):
        # A scope is a search too, and would tell what is masked.
        return Nothing()
    reached = _REACHED[scope.context](ctx, rules, resource_type, letter)
    if not scope.params or isinstance(reached, Nothing):
        return reached
    try:
        return all_of((reached, tree_of(rules, ctx.tenant.id, ctx.base, resource_type, scope.params)))
    except Invalid:
        # What cannot be understood allows nothing: it was refused when it was asked for, unless the type is any.
        return Nothing()


def _of_patient(ctx: Context, rules: Rules, resource_type: str, letter: str) -> Tree:
    """Return what a patient's scope reaches: their compartment, and of it no more than whoever agreed may see."""
    member, patient = ctx.grant.member, ctx.grant.patient
    within = _compartment(ctx, rules, resource_type, letter)
    if isinstance(within, Nothing) or member is None or member.reference == f"Patient/{patient}":
        return within
    return all_of((within, of_role(ctx, rules, resource_type, letter)))


def _compartment(ctx: Context, rules: Rules, resource_type: str, letter: str) -> Tree:
    if resource_type in SHARED:
        return Everything() if letter in _READING else Nothing()
    if ctx.grant.patient is None:
        return Nothing()
    return OfPatient(rules.hasher.self_key(ctx.tenant.id, "Patient", ctx.grant.patient))


def of_role(ctx: Context, rules: Rules, resource_type: str, letter: str) -> Tree:
    """Return what the member of a user's token reaches by role, or by a special purpose.

    Raises Forbidden for a token of no member, and for a super admin without a support session.
    """
    grant = ctx.grant
    if grant.member is None:
        raise Forbidden("a user's scope needs a user who is a member of this clinic")
    if grant.purpose == "BTG":
        return _by_broken_glass(ctx, rules, letter)
    if grant.member.role == "super-admin" and grant.purpose != "SUPPORT":
        raise Forbidden("a super admin works in a clinic by a support session, which has a reason and an end")
    who = Who(rules, grant.tenant, grant.member, ctx.now, resource_type)
    found = rules_for(grant.member.role, resource_type, letter)
    return reach(found[0].limit, who) if len(found) == 1 else together([reach(rule.limit, who) for rule in found])


def _by_broken_glass(ctx: Context, rules: Rules, letter: str) -> Tree:
    """Return what an emergency opens: one patient's record to be read, but for what guarded labels close."""
    if letter not in _READING or ctx.grant.patient is None:
        return Nothing()
    return all_of((OfPatient(rules.hasher.self_key(ctx.tenant.id, "Patient", ctx.grant.patient)), _OPEN))


_REACHED = {
    "system": lambda ctx, rules, resource_type, letter: Everything(),
    "user": of_role,
    "patient": _of_patient,
}


def _binaries(ctx: Context, rules: Rules, allowed: Iterable[Scope], letter: str) -> Tree:
    """Return the Binaries whose securityContext the grant may read, and those without any where it is not bound.

    http://hl7.org/fhir/R4/binary.html#security
    """
    contexts = {scope.context for scope in allowed}
    tenant = ctx.tenant.id
    if "system" in contexts and (letter == "c" or (_reads_all(ctx) and not ctx.grant.consents)):
        return Everything()
    # Of what belongs to nobody an emergency, which is one patient's, opens nothing.
    unbound = "system" in contexts or (
        "user" in contexts
        and ctx.grant.purpose != "BTG"
        and not isinstance(of_role(ctx, rules, "Binary", letter), Nothing)
    )
    # A user, or a user's app, writes what stands under a resource only where the role writes such resources.
    asked = letter if ("user" in contexts or ctx.grant.member) and letter not in _READING else "r"
    groups: dict[Tree, list[str]] = {}
    for name in STORABLE:
        try:
            # A Binary that guards another does not hand its own guard on.
            tree = visible(ctx, rules, name, asked) if name != "Binary" else Nothing()
        except Forbidden:
            continue
        if not isinstance(tree, Nothing):
            groups.setdefault(tree, []).append(name)
    found = secured_by(rules.hasher, tenant, ((tuple(types), tree) for tree, types in groups.items()))
    return any_of((unsecured(rules.hasher, tenant), found)) if unbound else found


def _reads_all(ctx: Context) -> bool:
    scopes = ctx.grant.scopes
    return any(s.context == "system" and s.type == "*" and "r" in s.interactions and not s.params for s in scopes)
