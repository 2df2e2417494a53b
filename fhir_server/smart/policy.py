"""What a grant may see, as a search tree that every query carries. One tree for reads, searches and counts.

https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html
"""

from __future__ import annotations

import msgspec

from conformance.search_params import Registry
from conformance.structures import STORABLE
from fhir_server.context import Context
from fhir_server.errors import Forbidden
from fhir_server.search.hashing import Hasher
from fhir_server.search.secured import secured_by, unsecured
from fhir_server.search.tree import Everything, Nothing, OfPatient, Tree, any_of
from fhir_server.smart.scopes import covers

# Types that belong to no patient and that a patient's app needs to understand the record.
SHARED = frozenset(
    ("Practitioner", "PractitionerRole", "Organization", "Location", "Medication", "HealthcareService", "Endpoint")
)
_NAMES = {"c": "create", "r": "read", "u": "update", "d": "delete", "s": "search"}


class Rules(msgspec.Struct, frozen=True):
    """What the permission tree is made with; `registry` is R4's."""

    hasher: Hasher
    registry: Registry


def visible(ctx: Context, rules: Rules, resource_type: str, letter: str) -> Tree:
    """Return the tree of rows that the grant may touch by interaction `letter` (one of c r u d s).

    Raises Forbidden where no scope covers the type or the interaction.
    """
    grant, hasher = ctx.grant, rules.hasher
    allowed = covers(grant.scopes, resource_type, letter)
    if not allowed:
        raise Forbidden(f"no scope of this token allows to {_NAMES[letter]} {resource_type}")
    if resource_type == "Binary":
        return _contexts(ctx, rules, unbound=any(scope.context != "patient" for scope in allowed))
    if any(scope.context != "patient" for scope in allowed):
        return Everything()
    if resource_type in SHARED:
        return Everything() if letter in "rs" else Nothing()
    if grant.patient is None:
        return Nothing()
    return OfPatient(hasher.self_key(grant.tenant.id, "Patient", grant.patient))


def _contexts(ctx: Context, rules: Rules, *, unbound: bool) -> Tree:
    """Return the Binaries whose securityContext the grant may read, and, to one of no patient, those without any.

    http://hl7.org/fhir/R4/binary.html#security
    """
    grant, hasher = ctx.grant, rules.hasher
    if unbound and any(s.context != "patient" and s.type == "*" and "r" in s.interactions for s in grant.scopes):
        return Everything()
    groups: dict[Tree, list[str]] = {}
    for name in STORABLE:
        try:
            # A Binary that guards another does not hand its own guard on.
            tree = visible(ctx, rules, name, "r") if name != "Binary" else Nothing()
        except Forbidden:
            continue
        if not isinstance(tree, Nothing):
            groups.setdefault(tree, []).append(name)
    tenant = grant.tenant.id
    found = secured_by(hasher, tenant, ((tuple(types), tree) for tree, types in groups.items()))
    return any_of((unsecured(hasher, tenant), found)) if unbound else found


def may_hold(ctx: Context, rules: Rules, resource_type: str, patient: int | None, letter: str) -> bool:
    """Tell whether the grant may leave behind, by interaction `letter`, a resource of this patient (a self_key)."""
    grant, hasher = ctx.grant, rules.hasher
    allowed = covers(grant.scopes, resource_type, letter)
    if any(scope.context != "patient" for scope in allowed):
        return True
    if grant.patient is None or patient is None:
        return False
    return patient == hasher.self_key(grant.tenant.id, "Patient", grant.patient)
